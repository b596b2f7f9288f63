"""What Prometheus must hold after OTLP metrics: worked out with protobuf objects, one point after the other, from the
OpenTelemetry specification's "Prometheus and OpenMetrics Compatibility".

For what the generator and the SDKs send: deltas in their order.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from expected_entries import plain
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "By": "bytes",
    "Cel": "celsius",
    "W": "watts",
}
DELTA = 1
EDGES = ("le", "quantile")
FINEST = 8  # the scale of the narrowest buckets that there are

Series = tuple[tuple[str, str], ...]


@dataclass
class Stored:
    """By the labels of their series, `__name__` included, with `le` and `quantile` as Python writes a float.

    `samples`: time in ms to value. `histograms`: time in ms to (count, sum, {(lower, upper): count}), bounds as by
    `digits`. `exemplars`: (time in ms, value, labels). `targets`: the series of target_info.
    """

    samples: dict[Series, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    histograms: dict[Series, dict[int, Any]] = field(default_factory=lambda: defaultdict(dict))
    exemplars: dict[Series, set[tuple[int, float, Series]]] = field(default_factory=lambda: defaultdict(set))
    targets: set[Series] = field(default_factory=set)
    _totals: dict[Series, Any] = field(default_factory=lambda: defaultdict(float))

    def total(self, key: Series, value: float, *, delta: bool) -> float:
        """What a series stands at when it is told `value`."""
        if not delta:
            return value
        self._totals[key] += value
        return float(self._totals[key])


def expected(payloads: Iterable[bytes]) -> Stored:
    """Of serialised export requests."""
    stored = Stored()
    for payload in payloads:
        for group in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
            resource = {each.key: text(each.value) for each in group.resource.attributes}
            own = identity(resource)
            rest = {name(key): value for key, value in resource.items() if key not in IDENTIFYING}
            if own and rest:
                stored.targets.add(series("target_info", rest, own))
            for scope in group.scope_metrics:
                labels = dict(own)
                for key in ("name", "version"):
                    labels[f"otel_scope_{key}"] = getattr(scope.scope, key)
                labels["otel_scope_schema_url"] = scope.schema_url
                labels |= {f"otel_scope_{name(each.key)}": text(each.value) for each in scope.scope.attributes}
                for metric in scope.metrics:
                    add(stored, metric, labels)
    return stored


IDENTIFYING = {"service.name", "service.namespace", "service.instance.id"}


def identity(resource: dict[str, str]) -> dict[str, str]:
    """Labels `job` and `instance`."""
    job = "/".join(resource[key] for key in ("service.namespace", "service.name") if resource.get(key))
    found = {"job": job if resource.get("service.name") else "", "instance": resource.get("service.instance.id", "")}
    return {key: value for key, value in found.items() if value}


def add(stored: Stored, metric: Any, labels: dict[str, str]) -> None:
    """Every point of a metric."""
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    counter = kind == "sum" and data.is_monotonic
    delta = kind not in ("gauge", "summary") and data.aggregation_temporality == DELTA
    family = full_name(metric.name, metric.unit, counter=counter, gauge=kind == "gauge")
    for point in data.data_points:
        own = {name(each.key): text(each.value) for each in point.attributes} | labels
        at = point.time_unix_nano // 1_000_000
        if kind in ("gauge", "sum"):
            value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
            key = series(family, own)
            stored.samples[key][at] = stored.total(key, float(value), delta=delta)
            note_exemplars(stored, point, lambda _, key=key: key)
        elif kind == "histogram":
            add_histogram(stored, family, point, own, delta=delta)
        elif kind == "summary":
            for each in point.quantile_values:
                stored.samples[series(family, own | {"quantile": str(each.quantile)})][at] = each.value
            stored.samples[series(family + "_sum", own)][at] = point.sum
            stored.samples[series(family + "_count", own)][at] = float(point.count)
        else:
            key = series(family, own)
            stored.histograms[key][at] = summed(stored, key, point, delta=delta)
            note_exemplars(stored, point, lambda _, key=key: key)


def summed(stored: Stored, key: Series, point: Any, *, delta: bool) -> Any:
    """Count, sum and buckets of an exponential histogram."""
    parts = {"count": point.count, "sum": point.sum} | exponential_buckets(point)
    if delta:  # buckets that no point tells of again stay what they were
        known = stored._totals[key] or {}
        parts = stored._totals[key] = {part: known.get(part, 0) + parts.get(part, 0) for part in parts | known}
    return parts["count"], parts["sum"], {part: n for part, n in parts.items() if part not in ("count", "sum")}


def add_histogram(stored: Stored, family: str, point: Any, labels: dict[str, str], *, delta: bool) -> None:
    at, total = point.time_unix_nano // 1_000_000, 0
    edges = [*point.explicit_bounds, math.inf]
    keys = [series(family + "_bucket", labels | {"le": str(edge)}) for edge in edges]
    for key, count in zip(keys, point.bucket_counts, strict=True):
        total += count
        stored.samples[key][at] = stored.total(key, float(total), delta=delta)
    assert total == point.count
    for suffix, value in (("_sum", point.sum), ("_count", float(point.count))):
        key = series(family + suffix, labels)
        stored.samples[key][at] = stored.total(key, value, delta=delta)
    note_exemplars(stored, point, lambda value: next(k for k, edge in zip(keys, edges, strict=True) if value <= edge))


def note_exemplars(stored: Stored, point: Any, where: Any) -> None:
    for each in point.exemplars:
        value = float(each.as_int if each.WhichOneof("value") == "as_int" else each.as_double)
        labels = {name(pair.key): text(pair.value) for pair in each.filtered_attributes}
        if each.trace_id:
            labels |= {"trace_id": each.trace_id.hex(), "span_id": each.span_id.hex()}
        about = tuple(sorted(labels.items()))
        stored.exemplars[where(value)].add((each.time_unix_nano // 1_000_000, value, about))


def exponential_buckets(point: Any) -> dict[Any, int]:
    finer = max(point.scale - FINEST, 0)
    width = 2 ** (FINEST - (point.scale - finer))  # of a bucket, in the unit of `digits`
    found: dict[Any, int] = Counter()
    for index, count in enumerate(point.positive.bucket_counts, point.positive.offset):
        if count:
            lower = (index >> finer) * width
            found[lower, lower + width] += count
    assert not any(point.negative.bucket_counts)
    if point.zero_count:
        found["zero"] = point.zero_count
    return found


def digits(bound: float) -> int:
    """A bound as a power: whoever works out powers of an irrational base errs in the last digits."""
    return round(math.log2(bound) * 2**FINEST)


def full_name(original: str, unit: str, *, counter: bool, gauge: bool) -> str:
    """The metric's name with its unit, and `_total` where it counts."""
    words = [each for each in re.split(r"[^a-zA-Z0-9]+", original) if each]
    word = "ratio" if unit == "1" and gauge else "" if unit == "1" or unit.startswith("{") else UNITS.get(unit, unit)
    if word and word not in words:
        words.append(word)
    if counter:
        words = [each for each in words if each != "total"] + ["total"]
    return "_".join(words)


def name(key: str) -> str:
    """Of a label."""
    found = re.sub(r"[^a-zA-Z0-9]+", "_", key)
    return f"key_{found}" if found[:1].isdigit() else found


def text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "double_value":
        return json.dumps(value.double_value)
    if kind == "array_value":
        return json.dumps(plain(value), separators=(",", ":"))
    return str(getattr(value, kind)) if kind else ""


def series(family: str, *labels: dict[str, str]) -> Series:
    found: dict[str, str] = {"__name__": family}
    for each in labels:
        found |= each
    return tuple(sorted((key, value) for key, value in found.items() if value))


def stored_in(prometheus: Any, selector: str, until: float) -> Stored:
    """What a `Prometheus` of the tests has, in the same form; without exemplars and targets."""
    stored = Stored()
    for key, values in prometheus.samples(selector, until).items():
        if dict(key)["__name__"] == "target_info":
            assert {value for _, value in values} == {1.0}
            stored.targets.add(key)
        else:
            stored.samples[normal(key)] = dict(values)
    for key, points in prometheus.histograms(selector, until).items():
        stored.histograms[key] = {at: from_api(point) for at, point in points}
    return stored


def exemplars_in(prometheus: Any, selector: str, start: float, end: float) -> dict[Series, set[Any]]:
    """The exemplars that it has."""
    return {normal(key): set(found) for key, found in prometheus.exemplars(selector, start, end).items()}


def normal(key: Series) -> Series:
    """`le` and `quantile` of a series as Python writes a float."""
    return tuple((label, str(float(value)) if label in EDGES else value) for label, value in key)


def from_api(point: dict[str, Any]) -> Any:
    buckets = {}
    for _, lower, upper, count in point.get("buckets", ()):
        low, high = float(lower), float(upper)
        key = "zero" if low <= 0 <= high else (digits(low), digits(high))
        buckets[key] = int(count)
    return int(point["count"]), float(point["sum"]), buckets
