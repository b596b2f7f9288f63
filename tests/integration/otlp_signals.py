"""What the tests of the `otlp` receiver send of each signal, and how they read what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from collector.api import Signal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Sender:
    """One signal as senders see it. `camel` are the names of the three levels in JSON, `item` the tags down to an item,
    `attributes` the tag of an item's attributes.
    """

    signal: Signal
    service: str
    request_class: Any
    response_class: Any
    stub: Any
    add: Callable[[Any, int], None]
    camel: tuple[str, str, str]
    item: bytes
    attributes: bytes
    rejected: str
    rejected_json: str

    def __str__(self) -> str:
        return self.signal.value

    @property
    def method(self) -> str:
        return f"/opentelemetry.proto.collector.{self.service}/Export"

    @property
    def path(self) -> str:
        return f"/v1/{self.signal.value}"

    def request(self, n: int = 1) -> Any:
        """A request of `n` items named layer.execute."""
        message = self.request_class()
        self.add(message, n)
        return message

    def payload(self, n: int = 1) -> bytes:
        return self.request(n).SerializeToString()

    def of(self, body: bytes) -> bytes:
        """A request of one item whose bytes are `body`."""
        for tag in reversed(self.item):
            body = bytes([tag]) + sized(body)
        return body

    def empty(self, n: int) -> bytes:
        """A request of `n` items without anything in them."""
        body = bytes([self.item[-1], 0]) * n
        for tag in reversed(self.item[:-1]):
            body = bytes([tag]) + sized(body)
        return body

    def nested(self, depth: int) -> bytes:
        """A request whose attribute's AnyValue nests `depth` arrays."""
        value = b""
        for _ in range(depth):
            value = b"\x2a" + sized(b"\x0a" + sized(value))  # AnyValue.array_value{values}
        return self.of(self.attributes + sized(b"\x0a\x01k" + b"\x12" + sized(value)))

    def json(self, *items: str) -> bytes:
        """A JSON request of items that are written so; those of metrics are whole metrics."""
        first, second, third = self.camel
        return f'{{"{first}":[{{"{second}":[{{"{third}":[{",".join(items)}]}}]}}]}}'.encode()

    def answer(self, data: bytes) -> tuple[int, str]:
        """`partial_success` of an answer: the count and the message."""
        partial = self.response_class.FromString(data).partial_success
        return getattr(partial, self.rejected), partial.error_message


def sized(body: bytes) -> bytes:
    """With its length before it."""
    size, out = len(body), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size]) + body


def _spans(message: Any, n: int) -> None:
    spans = message.resource_spans.add().scope_spans.add().spans
    for number in range(n):
        spans.add(trace_id=number.to_bytes(15, "big") + b"\x01", span_id=b"\x02" * 8, name="layer.execute")


def _points(message: Any, n: int) -> None:
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="layer.execute")
    for number in range(n):
        metric.gauge.data_points.add(as_int=number, time_unix_nano=1)


def _records(message: Any, n: int) -> None:
    records = message.resource_logs.add().scope_logs.add().log_records
    for number in range(n):
        records.add(severity_number=9, time_unix_nano=number).body.string_value = "layer.execute"


TRACES = Sender(
    Signal.TRACES,
    "trace.v1.TraceService",
    trace_service_pb2.ExportTraceServiceRequest,
    trace_service_pb2.ExportTraceServiceResponse,
    trace_service_pb2_grpc.TraceServiceStub,
    _spans,
    ("resourceSpans", "scopeSpans", "spans"),
    b"\x0a\x12\x12",
    b"\x4a",
    "rejected_spans",
    "rejectedSpans",
)
METRICS = Sender(
    Signal.METRICS,
    "metrics.v1.MetricsService",
    metrics_service_pb2.ExportMetricsServiceRequest,
    metrics_service_pb2.ExportMetricsServiceResponse,
    metrics_service_pb2_grpc.MetricsServiceStub,
    _points,
    ("resourceMetrics", "scopeMetrics", "metrics"),
    b"\x0a\x12\x12\x2a\x0a",  # the last two: Metric.gauge, Gauge.data_points
    b"\x3a",
    "rejected_data_points",
    "rejectedDataPoints",
)
LOGS = Sender(
    Signal.LOGS,
    "logs.v1.LogsService",
    logs_service_pb2.ExportLogsServiceRequest,
    logs_service_pb2.ExportLogsServiceResponse,
    logs_service_pb2_grpc.LogsServiceStub,
    _records,
    ("resourceLogs", "scopeLogs", "logRecords"),
    b"\x0a\x12\x12",
    b"\x32",
    "rejected_log_records",
    "rejectedLogRecords",
)
SENDERS = (TRACES, METRICS, LOGS)
