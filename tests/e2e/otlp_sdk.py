"""The OpenTelemetry SDK for Python as a sender of metrics and logs, and the messages that it sends."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

if TYPE_CHECKING:
    from collections.abc import Iterable

RESOURCE = Resource.create({"service.name": "layer-runner", "node.id": "n-17"})
IDS = {"traceId", "spanId", "parentSpanId"}
ROUNDS = 5
RECORDS = 200


def recording(exporter: Any, encode: Any, sent: list[Any]) -> Any:
    """`exporter`, with every request that it is asked to send kept in `sent`."""
    export = exporter.export

    def kept(data: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(encode(data))
        return export(data, *arguments, **options)

    exporter.export = kept
    return exporter


def send_metrics(exporter: Any) -> list[ExportMetricsServiceRequest]:
    """Every kind of instrument, exemplars too, sent in `ROUNDS` rounds."""
    sent: list[ExportMetricsServiceRequest] = []
    reader = PeriodicExportingMetricReader(
        recording(exporter, encode_metrics, sent), export_interval_millis=math.inf, export_timeout_millis=10_000
    )
    views = [
        View(instrument_type=Histogram, instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation())
    ]
    provider = MeterProvider(metric_readers=[reader], resource=RESOURCE, views=views)
    meter = provider.get_meter("butterfly-test", "1.2.3", attributes={"scope.attribute": True})
    tokens = meter.create_counter("tokens", "{token}", "Tokens made")
    queue = meter.create_up_down_counter("queue.length")
    latency = meter.create_histogram("latency", "s")
    sizes = meter.create_histogram("sizes", "By")

    def temperatures(_options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(71.5, {"gpu": 0})
        yield Observation(-1e-300, {"gpu": 1})

    meter.create_observable_gauge("temperature", [temperatures], "Cel")
    tracer = TracerProvider(resource=RESOURCE).get_tracer("butterfly-test")
    for number in range(ROUNDS):
        with tracer.start_as_current_span("inference.request"):  # so that there are exemplars
            for model in ("small", "large"):
                tokens.add(2**40 + number, {"model": model, "shares": [0.5, 0.25]})
                latency.record(number / 7, {"model": model})
                sizes.record(10**number, {"model": model})
            queue.add(-number)
        provider.force_flush()
    provider.shutdown()
    return sent


def send_logs(exporter: Any) -> list[ExportLogsServiceRequest]:
    """Records with bodies of every type, in and out of traces."""
    sent: list[ExportLogsServiceRequest] = []
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(recording(exporter, encode_logs, sent), schedule_delay_millis=50)
    )
    logger = provider.get_logger("butterfly-test", "1.2.3", attributes={"scope.attribute": 1})
    tracer = TracerProvider(resource=RESOURCE).get_tracer("butterfly-test")
    bodies = ("checkpoint lost\n☃", 7, 0.5, True, b"\0\xff", [1, "two", None], {"deep": {"er": [1.5]}}, None)
    for number in range(RECORDS):
        record = LogRecord(
            timestamp=1_700_000_000_000_000_000 + number,
            observed_timestamp=1_700_000_000_000_000_001 + number,
            severity_number=SeverityNumber(1 + number % 24),
            severity_text="loud" if number % 3 else None,
            body=bodies[number % len(bodies)],
            attributes={"record.number": number, "layers": [1, 2, 3]},
            event_name="checkpoint.lost" if number % 2 else None,
        )
        if number % 5:
            with tracer.start_as_current_span("inference.request") as span:
                record.context = trace.set_span_in_context(span)
                context = span.get_span_context()
                record.trace_id, record.span_id = context.trace_id, context.span_id
                record.trace_flags = context.trace_flags
                logger.emit(record)
        else:
            logger.emit(record)
    provider.shutdown()
    return sent


def to_otlp_json(message: Any) -> Any:
    """OTLP/JSON by protobuf's own JSON: ids are hex instead of base64."""

    def hexed(node: Any, name: str = "") -> Any:
        if isinstance(node, dict):
            return {each: hexed(value, each) for each, value in node.items()}
        if isinstance(node, list):
            return [hexed(each, name) for each in node]
        return base64.b64decode(node).hex() if name in IDS else node

    return hexed(json_format.MessageToDict(message, use_integers_for_enums=True))


def from_otlp_json(shown: Any, message: Any) -> Any:
    """The other way round, into `message`."""

    def unhexed(node: Any, name: str = "") -> Any:
        if isinstance(node, dict):
            return {each: unhexed(value, each) for each, value in node.items()}
        if isinstance(node, list):
            return [unhexed(each, name) for each in node]
        return base64.b64encode(bytes.fromhex(node)).decode() if name in IDS else node

    return json_format.ParseDict(unhexed(shown), message)
