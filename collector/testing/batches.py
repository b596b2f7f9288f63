"""Sample telemetry for tests: OTLP requests as SDKs make them, from a seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.api import ANONYMOUS, Ack, Batch, Context, Signal

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

    from collector.api import Account

START_NS = 1_700_000_000_000_000_000
"""When the first span of a sample starts, and the time of its first data point and log record."""

_NAMES = ("inference.request", "layer.execute", "comm.send_tensor", "consensus.vote", "GET /healthz")
_SERVICES = ("butterfly-node", "butterfly-gateway")
_SCOPES = ("inference", "transport")
_METRICS = {
    "gauge": ("gpu.utilization", "1"),
    "sum": ("inference.requests", "{request}"),
    "histogram": ("inference.duration", "s"),
    "exponential_histogram": ("comm.message.size", "By"),
    "summary": ("consensus.round.duration", "s"),
}
_SEVERITIES = {
    SeverityNumber.SEVERITY_NUMBER_DEBUG: "DEBUG",
    SeverityNumber.SEVERITY_NUMBER_INFO: "INFO",
    SeverityNumber.SEVERITY_NUMBER_WARN: "WARN",
    SeverityNumber.SEVERITY_NUMBER_ERROR: "ERROR",
}


def traces_request(spans: int = 20, seed: int = 0, *, traces: int = 5) -> ExportTraceServiceRequest:
    """A request of `spans` spans of up to `traces` traces, over two resources with two scopes each.

    There are roots and children, errors, events, links, attributes of every type, and lengths up to ten seconds.
    """
    chooser = random.Random(seed)
    ids = [chooser.randbytes(16) for _ in range(traces)]
    roots: dict[bytes, bytes] = {}
    request = ExportTraceServiceRequest()
    scopes = _scopes(request.resource_spans, "scope_spans")
    for at in range(spans):
        chooser.choice(scopes).spans.append(_span(chooser, chooser.choice(ids), roots, at))
    return request


def traces_payload(spans: int = 20, seed: int = 0, *, traces: int = 5) -> bytes:
    """`traces_request` on the wire."""
    return traces_request(spans, seed, traces=traces).SerializeToString()


def traces_batch(
    spans: int = 20,
    seed: int = 0,
    *,
    ack: Ack | None = None,
    account: Account | None = None,
    context: Context = ANONYMOUS,
) -> Batch:
    """`traces_payload` as a batch; nobody waits for its ack unless one is given."""
    return Batch(
        traces_payload(spans, seed), Ack.ignore() if ack is None else ack, account=account, context=context, count=spans
    )


def metrics_request(points: int = 20, seed: int = 0) -> ExportMetricsServiceRequest:
    """A request of `points` data points of every kind and temporality; resources and scopes as in `traces_request`.

    Every fourth point has an exemplar, summaries excepted.
    """
    chooser = random.Random(seed)
    request = ExportMetricsServiceRequest()
    scopes = _scopes(request.resource_metrics, "scope_metrics")
    metrics: dict[tuple[int, str], Metric] = {}
    for at in range(points):
        scope, kind = chooser.randrange(len(scopes)), chooser.choice(list(_METRICS))
        if (scope, kind) not in metrics:
            name, unit = _METRICS[kind]
            metric = metrics[scope, kind] = scopes[scope].metrics.add(name=name, unit=unit, description=f"A {kind}.")
            if kind == "sum":
                metric.sum.is_monotonic = True
            if kind in {"sum", "histogram", "exponential_histogram"}:
                getattr(metric, kind).aggregation_temporality = chooser.choice((1, 2))
        _fill_point(chooser, getattr(metrics[scope, kind], kind).data_points.add(), kind, at)
    return request


def metrics_payload(points: int = 20, seed: int = 0) -> bytes:
    """`metrics_request` on the wire."""
    return metrics_request(points, seed).SerializeToString()


def logs_request(records: int = 20, seed: int = 0) -> ExportLogsServiceRequest:
    """A request of `records` log records, over resources and scopes as in `traces_request`.

    Bodies are texts and maps; half of the records belong to a trace.
    """
    chooser = random.Random(seed)
    request = ExportLogsServiceRequest()
    scopes = _scopes(request.resource_logs, "scope_logs")
    for at in range(records):
        chooser.choice(scopes).log_records.append(_record(chooser, at))
    return request


def logs_payload(records: int = 20, seed: int = 0) -> bytes:
    """`logs_request` on the wire."""
    return logs_request(records, seed).SerializeToString()


def payload_of(signal: Signal, items: int = 20, seed: int = 0) -> bytes:
    """A sample of `items` spans, data points or log records."""
    if signal is Signal.METRICS:
        return metrics_payload(items, seed)
    return logs_payload(items, seed) if signal is Signal.LOGS else traces_payload(items, seed)


def batch_of(
    signal: Signal,
    items: int = 20,
    seed: int = 0,
    *,
    ack: Ack | None = None,
    account: Account | None = None,
    context: Context = ANONYMOUS,
) -> Batch:
    """`payload_of` as a batch; nobody waits for its ack unless one is given."""
    payload = payload_of(signal, items, seed)
    return Batch(
        payload,
        Ack.ignore() if ack is None else ack,
        signal=signal,
        account=account,
        context=context,
        count=items,
    )


def _scopes(resources: Any, scopes: str) -> list[Any]:
    """Two new resources with two scopes each."""
    found = []
    for node, service in enumerate(_SERVICES):
        resource = resources.add()
        resource.resource.attributes.extend(_attributes({"service.name": service, "node.id": node}))
        resource.schema_url = "https://opentelemetry.io/schemas/1.30.0"
        for name in _SCOPES:
            scope = getattr(resource, scopes).add()
            scope.scope.name = name
            scope.scope.version = "1.0"
            found.append(scope)
    return found


def _fill_point(chooser: random.Random, point: Any, kind: str, at: int) -> None:
    point.start_time_unix_nano = START_NS
    point.time_unix_nano = START_NS + at * 1_000_000
    point.attributes.extend(
        _attributes(
            {"http.route": chooser.choice(("/infer", "/healthz")), "layer": at % 7, "user.email": f"u{at}@example.org"}
        )
    )
    if kind == "gauge":
        point.as_double = chooser.random()
    elif kind == "sum":
        point.as_int = chooser.randrange(10**6)
    else:
        point.count = 3
        point.sum = 4.5
    if kind == "histogram":
        point.explicit_bounds.extend((0.1, 1.0, 10.0))
        point.bucket_counts.extend((1, 0, 2, 0))
    elif kind == "exponential_histogram":
        point.scale = 3
        point.positive.bucket_counts.extend((1, 2))
    elif kind == "summary":
        point.quantile_values.add(quantile=0.5, value=1.5)
    if kind != "summary" and at % 4 == 0:
        point.exemplars.add(
            trace_id=chooser.randbytes(16), span_id=chooser.randbytes(8), as_double=1.5, time_unix_nano=START_NS
        )


def _record(chooser: random.Random, at: int) -> LogRecord:
    severity, text = chooser.choice(list(_SEVERITIES.items()))
    record = LogRecord(
        time_unix_nano=START_NS + at * 1_000_000,
        observed_time_unix_nano=START_NS + at * 1_000_000 + 1,
        severity_number=severity,
        severity_text=text,
        trace_id=chooser.randbytes(16) if at % 2 else b"",
        span_id=chooser.randbytes(8) if at % 2 else b"",
    )
    if at % 5:
        record.body.string_value = f"layer {at % 200} done for u{at}@example.org"
    else:
        record.body.kvlist_value.values.extend(_attributes({"message": "done", "layer": at % 200}))
    record.attributes.extend(_attributes({"http.route": "/healthz" if at % 3 == 0 else "/infer", "layer": at % 200}))
    return record


def _span(chooser: random.Random, trace_id: bytes, roots: dict[bytes, bytes], at: int) -> Span:
    span_id = chooser.randbytes(8)
    start = START_NS + at * 1_000_000
    length = chooser.choice((50_000, 2_000_000, 300_000_000, 10_000_000_000))
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=roots.get(trace_id, b""),
        name=chooser.choice(_NAMES),
        kind=chooser.choice((Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)),
        start_time_unix_nano=start,
        end_time_unix_nano=start + length,
    )
    roots.setdefault(trace_id, span_id)
    route = "/healthz" if span.name.endswith("/healthz") else "/infer"
    span.attributes.extend(
        _attributes(
            {
                "http.route": route,
                "layer": at % 200,
                "ratio": 0.25,
                "cached": at % 2 == 0,
                "user.email": f"u{at}@example.org",
            }
        )
    )
    if chooser.random() < 0.2:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = "deadline exceeded"
    if chooser.random() < 0.2:
        event = span.events.add(name="byzantine.fault_detected", time_unix_nano=start + 1)
        event.attributes.extend(_attributes({"fault": "equivocation"}))
    if chooser.random() < 0.1:
        span.links.add(trace_id=chooser.randbytes(16), span_id=chooser.randbytes(8))
    return span


def _attributes(values: dict[str, str | bool | int | float]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: str | bool | float) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)
