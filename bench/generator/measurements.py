"""What the spans of a cycle measure: the series of every metric that spans feed, and what each span adds to them."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.generator.metric_catalogue import METRICS, SCALE, FromSpans, Metric
from bench.generator.traces import BYZANTINE, ERROR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.generator.attributes import Value
    from bench.generator.traces import Span

FAULT_TYPE = "butterfly.byzantine.fault_type"
_UNKNOWN_ERROR = "_OTHER"  # what OpenTelemetry's conventions say where no type is known


@dataclass(slots=True)
class Series:
    """One series of one node. `spans` and `amounts`: who feeds it with how much, in the order of the spans'
    sending; nanoseconds where the amount is a duration."""

    node: int
    metric: Metric
    attributes: tuple[tuple[str, Value], ...]
    spans: list[int] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)


def fault_type(span: Span) -> str:
    """The Byzantine fault of a span: as it names it, else what found it."""
    named = span.attributes.get(FAULT_TYPE)
    if named is not None:
        return str(named)
    failed = span.attributes.get("butterfly.verification.result") == "failed"
    if failed or any(event.name == "byzantine.verification_failed" for event in span.events):
        return "failed_verification"
    return "unclassified"


def label(span: Span, key: str) -> Value:
    """What a point's attribute of that name says about the span."""
    if key == "status":
        return "error" if span.flags & ERROR else "ok"
    if key == "error.type":
        return span.attributes.get(key, _UNKNOWN_ERROR)
    if key == FAULT_TYPE:
        return fault_type(span)
    return span.attributes[key]


def _amount(span: Span, source: FromSpans) -> int:
    if source.amount == "1":
        return 1
    if source.amount == "duration":
        return span.end - span.start
    return int(span.attributes[source.amount])


def _feeds(span: Span, source: FromSpans) -> bool:
    if source.names and span.entry.name not in source.names:
        return False
    if source.only:
        return bool(span.flags & (ERROR if source.only == "error" else BYZANTINE))
    return True


def series_of(spans: Sequence[Span], order: Iterable[int]) -> list[Series]:
    """Every series that the spans of a cycle feed, by node and in the catalogue's order. `order`: the spans'
    ordinals as they are sent."""
    by_name: dict[str, list[tuple[Metric, FromSpans]]] = {}
    marked: list[tuple[Metric, FromSpans]] = []
    for metric in METRICS.values():
        if isinstance(metric.source, FromSpans):
            for name in metric.source.names:
                by_name.setdefault(name, []).append((metric, metric.source))
            if not metric.source.names:
                marked.append((metric, metric.source))
    found: dict[tuple[int, str, tuple[Value, ...]], Series] = {}
    for ordinal in order:
        span = spans[ordinal]
        for metric, source in (*by_name.get(span.entry.name, ()), *marked):
            if _feeds(span, source):
                values = tuple(label(span, key) for key in metric.attributes)
                series = found.get((span.node, metric.name, values))
                if series is None:
                    pairs = tuple(zip(metric.attributes, values, strict=True))
                    series = found[span.node, metric.name, values] = Series(span.node, metric, pairs)
                series.spans.append(ordinal)
                series.amounts.append(_amount(span, source))
    rank = {name: number for number, name in enumerate(METRICS)}
    return sorted(found.values(), key=lambda each: (each.node, rank[each.metric.name], repr(each.attributes)))


def in_unit(amount: int, unit: str) -> float:
    """An amount as the metric's points show it."""
    return amount / 1e9 if unit == "s" else float(amount)


def explicit_bucket(value: float, bounds: Sequence[float]) -> int:
    """Which bucket of an explicit histogram: upper bounds are inclusive."""
    return bisect_left(bounds, value)


def exponential_bucket(value: float) -> int:
    """Index of the bucket of an exponential histogram: of (base^index, base^(index+1)] the one that holds it."""
    return math.ceil(math.log2(value) * (1 << SCALE)) - 1


def quantiles(values: Iterable[float], shares: Sequence[float]) -> Iterator[float]:
    """Nearest-rank quantiles."""
    ranked = sorted(values)
    for share in shares:
        yield ranked[max(0, math.ceil(share * len(ranked)) - 1)]
