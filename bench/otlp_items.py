"""Log records and data points in one plain form, whether they come as protobuf or as the file exporter's OTLP/JSON."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

Attributes = dict[str, Any]
KINDS = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponential_histogram": "exponentialHistogram",
    "summary": "summary",
}
"""The kinds of a metric's data, as protobuf and as JSON name them."""


@dataclass(slots=True)
class LogItem:
    """One log record. Ids are hex, empty where there is none; times are nanoseconds since the epoch. Maps are dicts,
    arrays lists."""

    resource: Attributes
    scope: tuple[str, str]
    time: int
    observed: int
    severity: int
    severity_text: str
    body: Any
    attributes: Attributes
    trace_id: str
    span_id: str
    flags: int


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What tells one series from another. Attributes are sorted pairs."""

    resource: tuple[tuple[str, Any], ...]
    scope: tuple[str, str]
    name: str
    unit: str
    kind: str
    attributes: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram (`bounds`, `buckets`), an exponential one (`scale`, `zero_count`, `offset`, `buckets`), or a summary
    (`quantiles`)."""

    count: int
    sum: float
    buckets: tuple[int, ...] = ()
    bounds: tuple[float, ...] = ()
    scale: int = 0
    zero_count: int = 0
    offset: int = 0
    quantiles: tuple[tuple[float, float], ...] = ()

    def __add__(self, other: Distribution) -> Distribution:
        """Two deltas of one series as one."""
        buckets = tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True))
        total, both = self.count + other.count, self.sum + other.sum
        zeros = self.zero_count + other.zero_count
        return Distribution(
            total, both, buckets, self.bounds, self.scale, zeros, self.offset, other.quantiles or self.quantiles
        )


Value = int | float | Distribution


@dataclass(frozen=True, slots=True)
class ExemplarItem:
    trace_id: str
    span_id: str
    value: float
    time: int
    attributes: tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class PointItem:
    """One data point. `temporality`: 0 for gauges and summaries, 1 delta, 2 cumulative."""

    key: SeriesKey
    temporality: int
    monotonic: bool
    start: int
    time: int
    value: Value
    exemplars: list[ExemplarItem] = field(default_factory=list)


def records(request: ExportLogsServiceRequest) -> Iterator[LogItem]:
    """Of a protobuf request."""
    for group in request.resource_logs:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield LogItem(
                    resource,
                    (scope.scope.name, scope.scope.version),
                    record.time_unix_nano,
                    record.observed_time_unix_nano,
                    record.severity_number,
                    record.severity_text,
                    _value(record.body),
                    _attributes(record.attributes),
                    record.trace_id.hex(),
                    record.span_id.hex(),
                    record.flags,
                )


def json_records(request: dict[str, Any]) -> Iterator[LogItem]:
    """Of a request in OTLP/JSON."""
    for group in request.get("resourceLogs", ()):
        resource = _json_attributes(group.get("resource", {}))
        for scope in group.get("scopeLogs", ()):
            about = scope.get("scope", {})
            for record in scope.get("logRecords", ()):
                yield LogItem(
                    resource,
                    (about.get("name", ""), about.get("version", "")),
                    int(record.get("timeUnixNano", 0)),
                    int(record.get("observedTimeUnixNano", 0)),
                    int(record.get("severityNumber", 0)),
                    record.get("severityText", ""),
                    _json_value(record.get("body", {})),
                    _json_attributes(record),
                    record.get("traceId", ""),
                    record.get("spanId", ""),
                    int(record.get("flags", 0)),
                )


def points(request: ExportMetricsServiceRequest) -> Iterator[PointItem]:
    """Of a protobuf request."""
    for group in request.resource_metrics:
        resource = _pairs(_attributes(group.resource.attributes))
        for scope in group.scope_metrics:
            about = scope.scope.name, scope.scope.version
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                data = getattr(metric, kind)
                temporality = getattr(data, "aggregation_temporality", 0)
                for point in data.data_points:
                    attributes = _pairs(_attributes(point.attributes))
                    yield PointItem(
                        SeriesKey(resource, about, metric.name, metric.unit, kind, attributes),
                        temporality,
                        getattr(data, "is_monotonic", False),
                        point.start_time_unix_nano,
                        point.time_unix_nano,
                        _number(kind, point),
                        [_exemplar(each) for each in getattr(point, "exemplars", ())],
                    )


def _number(kind: str, point: Any) -> Value:
    if kind in {"gauge", "sum"}:
        which = point.WhichOneof("value")
        value: int | float = getattr(point, which) if which else 0
        return value
    if kind == "histogram":
        return Distribution(point.count, point.sum, tuple(point.bucket_counts), tuple(point.explicit_bounds))
    if kind == "summary":
        quantiles = tuple((each.quantile, each.value) for each in point.quantile_values)
        return Distribution(point.count, point.sum, quantiles=quantiles)
    return Distribution(
        point.count,
        point.sum,
        tuple(point.positive.bucket_counts),
        scale=point.scale,
        zero_count=point.zero_count,
        offset=point.positive.offset,
    )


def _exemplar(each: Any) -> ExemplarItem:
    value = each.as_int if each.WhichOneof("value") == "as_int" else each.as_double
    attributes = _pairs(_attributes(each.filtered_attributes))
    return ExemplarItem(each.trace_id.hex(), each.span_id.hex(), value, each.time_unix_nano, attributes)


def json_points(request: dict[str, Any]) -> Iterator[PointItem]:
    """Of a request in OTLP/JSON."""
    for group in request.get("resourceMetrics", ()):
        resource = _pairs(_json_attributes(group.get("resource", {})))
        for scope in group.get("scopeMetrics", ()):
            about = scope.get("scope", {}).get("name", ""), scope.get("scope", {}).get("version", "")
            for metric in scope.get("metrics", ()):
                for kind, name in KINDS.items():
                    data = metric.get(name)
                    if data is not None:
                        yield from _json_data(resource, about, metric, kind, data)


def _json_data(
    resource: tuple[tuple[str, Any], ...],
    scope: tuple[str, str],
    metric: dict[str, Any],
    kind: str,
    data: dict[str, Any],
) -> Iterator[PointItem]:
    for point in data.get("dataPoints", ()):
        attributes = _pairs(_json_attributes(point))
        yield PointItem(
            SeriesKey(resource, scope, metric.get("name", ""), metric.get("unit", ""), kind, attributes),
            int(data.get("aggregationTemporality", 0)),
            bool(data.get("isMonotonic", False)),
            int(point.get("startTimeUnixNano", 0)),
            int(point.get("timeUnixNano", 0)),
            _json_number(kind, point),
            [_json_exemplar(each) for each in point.get("exemplars", ())],
        )


def _json_number(kind: str, point: dict[str, Any]) -> Value:
    if kind in {"gauge", "sum"}:
        return int(point["asInt"]) if "asInt" in point else float(point.get("asDouble", 0))
    count, total = int(point.get("count", 0)), float(point.get("sum", 0))
    if kind == "summary":
        values = tuple((float(q.get("quantile", 0)), float(q.get("value", 0))) for q in point.get("quantileValues", ()))
        return Distribution(count, total, quantiles=values)
    if kind == "histogram":
        buckets = tuple(map(int, point.get("bucketCounts", ())))
        return Distribution(count, total, buckets, tuple(map(float, point.get("explicitBounds", ()))))
    positive = point.get("positive", {})
    return Distribution(
        count,
        total,
        tuple(map(int, positive.get("bucketCounts", ()))),
        scale=int(point.get("scale", 0)),
        zero_count=int(point.get("zeroCount", 0)),
        offset=int(positive.get("offset", 0)),
    )


def _json_exemplar(each: dict[str, Any]) -> ExemplarItem:
    value = int(each["asInt"]) if "asInt" in each else float(each.get("asDouble", 0))
    attributes = _pairs(
        {pair["key"]: _json_value(pair.get("value", {})) for pair in each.get("filteredAttributes", ())}
    )
    return ExemplarItem(
        each.get("traceId", ""), each.get("spanId", ""), value, int(each.get("timeUnixNano", 0)), attributes
    )


def _pairs(attributes: Attributes) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(attributes.items()))


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if which == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, which)


def _json_attributes(holder: dict[str, Any]) -> Attributes:
    return {pair["key"]: _json_value(pair.get("value", {})) for pair in holder.get("attributes", ())}


def _json_value(value: dict[str, Any]) -> Any:
    for which, inner in value.items():
        if which == "intValue":
            return int(inner)
        if which == "doubleValue":
            return float(inner)
        if which == "kvlistValue":
            return {pair["key"]: _json_value(pair.get("value", {})) for pair in inner.get("values", ())}
        if which == "arrayValue":
            return [_json_value(each) for each in inner.get("values", ())]
        return inner
    return None


def json_lines(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The requests in files of the file exporter, `.gz` or not. Only a file's last line may be unfinished (its writer
    was killed): it is left out. Any other bad line raises `ValueError`."""
    for path in paths:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for line in lines:
                try:
                    request: dict[str, Any] = orjson.loads(line) if line.strip() else {}
                except orjson.JSONDecodeError:
                    if line.endswith(b"\n"):
                        raise
                    continue
                yield request
