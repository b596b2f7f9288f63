"""One metrics request as protobuf bytes, and where in them the numbers, times and exemplars lie that change on every
send.

All of them are fixed-width on the wire, but for the bucket counts of exponential histograms: those are written as
varints of five bytes, which is longer than need be and means the same to every reader of protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.generator.attributes import REQUEST_ID_BLANK, REQUEST_ID_KEY, REQUEST_ID_PREFIX, Value
from bench.generator.catalogue import SCOPES
from bench.generator.measurements import Series, exponential_bucket, in_unit, quantiles
from bench.generator.metric_catalogue import BOUNDS, QUANTILES, SCALE, FromSpans, Growth, Level, Metric
from bench.generator.serialise import BLANK_SPAN, BLANK_TRACE, fields, put, resource_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CUMULATIVE, DELTA = 2, 1
_BLANK_TIME = 1 << 60
_BLANK_COUNT = 1
_FIVE_BYTES = 1 << 30
"""A count whose varint has five bytes; with those, counts up to 2^35 can be written."""

_DATA = {"gauge": 5, "counter": 7, "up_down_counter": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
"""Field of each kind in `Metric`."""


@dataclass(slots=True)
class Point:
    """One series as it is sent. `series`: what its spans measured; None where no spans feed it, and then `key` decides
    its numbers."""

    node: int
    metric: Metric
    attributes: tuple[tuple[str, Value], ...]
    series: Series | None = None
    key: int = 0

    @property
    def first_bucket(self) -> int:
        """Offset of an exponential histogram."""
        return min(self._buckets())

    @property
    def buckets(self) -> int:
        """How many an exponential histogram has."""
        return max(self._buckets()) - self.first_bucket + 1

    def _buckets(self) -> Iterator[int]:
        amounts = self.series.amounts if self.series else ()
        return (exponential_bucket(in_unit(amount, self.metric.unit)) for amount in amounts)


@dataclass(slots=True)
class ExemplarOffsets:
    """Byte offsets in one exemplar; `value` is -1 where the value never changes. `point`: index of its point."""

    point: int
    time: int = -1
    value: int = -1
    span: int = -1
    trace: int = -1
    request: int = -1


@dataclass(slots=True)
class PointOffsets:
    """Byte offsets into one payload, of its points in payload order; each list entry names the point by its index.

    `starts`, `times`: of the points' times. `numbers`: values of gauges and sums. `counts`: counts of distributions.
    `sums`. `buckets`: (offset, point, number of the bucket); `varints` the same of exponential histograms.
    """

    starts: list[tuple[int, int]] = field(default_factory=list)
    times: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    counts: list[tuple[int, int]] = field(default_factory=list)
    sums: list[tuple[int, int]] = field(default_factory=list)
    buckets: list[tuple[int, int, int]] = field(default_factory=list)
    varints: list[tuple[int, int, int]] = field(default_factory=list)
    exemplars: list[ExemplarOffsets] = field(default_factory=list)


def in_doubles(metric: Metric) -> bool:
    """Whether the points of a gauge or a sum hold doubles rather than integers."""
    source = metric.source
    if isinstance(source, Level):
        return isinstance(source.low, float)
    return isinstance(source, Growth) and metric.unit == "s"


def serialise_points(seed: int, points: Sequence[Point], deltas: frozenset[str]) -> tuple[bytes, list[Point]]:
    """A request with these points (of one node and metric side by side), and the points in payload order. `deltas`:
    names of the metrics with delta temporality."""
    request = ExportMetricsServiceRequest()
    rows: list[Point] = []
    by_node: dict[int, dict[str, dict[str, list[Point]]]] = {}
    for point in points:
        scopes = by_node.setdefault(point.node, {})
        scopes.setdefault(point.metric.category, {}).setdefault(point.metric.name, []).append(point)
    for node, scopes in by_node.items():
        group = request.resource_metrics.add()
        for key, value in resource_of(seed, node).items():
            put(group.resource.attributes.add(), key, value)
        for category, metrics in scopes.items():
            scope = group.scope_metrics.add()
            scope.scope.name, scope.scope.version = SCOPES[category]  # type: ignore[index]
            for name, members in metrics.items():
                metric = members[0].metric
                entry = scope.metrics.add(name=name, unit=metric.unit, description=metric.about)
                _fill(entry, metric, members, DELTA if name in deltas else CUMULATIVE)
                rows.extend(members)
    return request.SerializeToString(), rows


def _fill(entry: Any, metric: Metric, points: Sequence[Point], temporality: int) -> None:
    if metric.kind == "gauge":
        data = entry.gauge
    elif metric.kind in {"counter", "up_down_counter"}:
        data = entry.sum
        data.aggregation_temporality = temporality
        data.is_monotonic = metric.kind == "counter"
    else:
        data = getattr(entry, metric.kind)
        if metric.kind != "summary":
            data.aggregation_temporality = temporality
    for each in points:
        point = data.data_points.add(time_unix_nano=_BLANK_TIME)
        if metric.kind != "gauge":
            point.start_time_unix_nano = _BLANK_TIME
        for key, value in each.attributes:
            put(point.attributes.add(), key, value)
        _fill_numbers(point, each)
        if metric.exemplars:
            exemplar = point.exemplars.add(time_unix_nano=_BLANK_TIME, trace_id=BLANK_TRACE, span_id=BLANK_SPAN)
            put(exemplar.filtered_attributes.add(), REQUEST_ID_KEY, REQUEST_ID_BLANK)
            if metric.kind == "counter":
                exemplar.as_int = 1
            else:
                exemplar.as_double = 1.0


def _fill_numbers(point: Any, each: Point) -> None:
    metric = each.metric
    if metric.kind in {"gauge", "counter", "up_down_counter"}:
        if in_doubles(metric):
            point.as_double = 1.0
        else:
            point.as_int = 1
        return
    point.count = _BLANK_COUNT
    point.sum = 1.0
    if metric.kind == "histogram":
        bounds = BOUNDS[metric.unit]
        point.explicit_bounds.extend(bounds)
        point.bucket_counts.extend([_BLANK_COUNT] * (len(bounds) + 1))
    elif metric.kind == "exponential_histogram":
        point.scale = SCALE
        point.positive.offset = each.first_bucket
        point.positive.bucket_counts.extend([_FIVE_BYTES] * each.buckets)
    else:
        amounts = each.series.amounts if each.series else []
        values = (in_unit(amount, metric.unit) for amount in amounts)
        for share, value in zip(QUANTILES, quantiles(values, QUANTILES), strict=True):
            point.quantile_values.add(quantile=share, value=value)


def locate_points(payload: bytes, rows: Sequence[Point]) -> PointOffsets:
    """Find what changes. `rows` are the points of the payload, in its order."""
    found = PointOffsets()
    for number, (point, (begin, end)) in enumerate(zip(rows, _bodies(payload), strict=True)):
        places = _Places(payload, number, point.metric, found)
        for part, at, stop in fields(payload, begin, end):
            places.visit(part, at, stop)
    return found


def _bodies(payload: bytes) -> Iterator[tuple[int, int]]:
    for _, group_begin, group_end in fields(payload, 0, len(payload)):
        for part, scope_begin, scope_end in fields(payload, group_begin, group_end):
            if part == 2:
                for inner, metric_begin, metric_end in fields(payload, scope_begin, scope_end):
                    if inner == 2:
                        yield from _points(payload, metric_begin, metric_end)


def _points(payload: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    for kind, data_begin, data_end in fields(payload, begin, end):
        if kind in _DATA.values():
            for part, at, stop in fields(payload, data_begin, data_end):
                if part == 1:
                    yield at, stop


class _Places:
    """Notes where the fields of one point lie."""

    def __init__(self, payload: bytes, number: int, metric: Metric, found: PointOffsets) -> None:
        self._payload = payload
        self._number = number
        self._metric = metric
        self._found = found
        self._single = metric.kind in {"gauge", "counter", "up_down_counter"}
        self._exemplars = 5 if self._single else 8 if metric.kind == "histogram" else 11

    def visit(self, part: int, at: int, stop: int) -> None:
        """Field numbers 2 and 3 are the same in all points, the rest isn't."""
        if part == 2:
            self._found.starts.append((at, self._number))
        elif part == 3:
            self._found.times.append((at, self._number))
        elif part == self._exemplars:
            self._found.exemplars.append(_exemplar(self._payload, at, stop, self._number, self._metric))
        elif self._single:
            if part in {4, 6}:
                self._found.numbers.append((at, self._number))
        else:
            self._distribution(part, at, stop)

    def _distribution(self, part: int, at: int, stop: int) -> None:
        if part == 4:
            self._found.counts.append((at, self._number))
        elif part == 5:
            self._found.sums.append((at, self._number))
        elif part == 6 and self._metric.kind == "histogram":
            self._found.buckets.extend((at + 8 * bucket, self._number, bucket) for bucket in range((stop - at) // 8))
        elif part == 8 and self._metric.kind == "exponential_histogram":
            inner = {each: (begin, end) for each, begin, end in fields(self._payload, at, stop)}
            begin, end = inner[2]
            self._found.varints.extend(
                (begin + 5 * bucket, self._number, bucket) for bucket in range((end - begin) // 5)
            )


def _exemplar(payload: bytes, begin: int, end: int, point: int, metric: Metric) -> ExemplarOffsets:
    offsets = ExemplarOffsets(point)
    for part, at, stop in fields(payload, begin, end):
        if part == 2:
            offsets.time = at
        elif part == 3:
            offsets.value = at
        elif part == 4:
            offsets.span = at
        elif part == 5:
            offsets.trace = at
        elif part == 7:
            offsets.request = stop - len(REQUEST_ID_BLANK) + len(REQUEST_ID_PREFIX)
    if not isinstance(metric.source, FromSpans) or (offsets.value < 0 and metric.source.amount != "1"):
        raise ValueError(f"{metric.name} can't have exemplars")
    return offsets
