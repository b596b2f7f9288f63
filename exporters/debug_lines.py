"""Items of OTLP/JSON requests on one line each: whatever they hold is quoted, so that it can't begin a line of its own.

Numbers are written as OTLP/JSON writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from collector.api import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

_POINTS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_SHOWN = ("count", "sum", "min", "max", "scale", "zeroCount")


def _items(request: Json, resources: str, scopes: str, items: str) -> Iterator[Json]:
    for resource in request.get(resources, []):
        for scope in resource.get(scopes, []):
            yield from scope.get(items, [])


def _spans(request: Json) -> Iterator[str]:
    for span in _items(request, "resourceSpans", "scopeSpans", "spans"):
        took = (int(span.get("endTimeUnixNano", 0)) - int(span.get("startTimeUnixNano", 0))) / 1e6
        yield (
            f"{_quoted(span.get('name', ''))} {span.get('traceId', '')} {span.get('spanId', '')} {took:.3f}ms "
            f"{_attributes(span)}"
        )


def _points(request: Json) -> Iterator[str]:
    for metric in _items(request, "resourceMetrics", "scopeMetrics", "metrics"):
        name = _quoted(metric.get("name", ""))
        for kind in _POINTS:
            for point in metric.get(kind, {}).get("dataPoints", []):
                yield f"{name}{_attributes(point)} {_value(point, kind)}"


def _value(point: Json, kind: str) -> str:
    if kind in ("gauge", "sum"):
        return str(point.get("asInt", point.get("asDouble", "")))
    shown = [f"{name}={point[name]}" for name in _SHOWN if name in point]
    bounds = [*point.get("explicitBounds", []), "+Inf"]
    shown += [f"le{bound}={count}" for bound, count in zip(bounds, point.get("bucketCounts", []), strict=False)]
    shown += [f"q{each.get('quantile', 0)}={each.get('value', 0)}" for each in point.get("quantileValues", [])]
    return " ".join(shown)


def _records(request: Json) -> Iterator[str]:
    for record in _items(request, "resourceLogs", "scopeLogs", "logRecords"):
        severity = _quoted(record.get("severityText") or record.get("severityNumber", 0))
        parts = [severity, _quoted(_plain(record.get("body", {}))), record.get("traceId", ""), record.get("spanId", "")]
        yield " ".join([*(part for part in parts if part), _attributes(record)])


def _attributes(item: Json) -> str:
    return _quoted(_mapping(item.get("attributes", [])))


def _mapping(members: list[Json]) -> Json:
    return {each.get("key", ""): _plain(each.get("value", {})) for each in members}


def _plain(value: Json) -> object:
    """An `AnyValue` as the JSON that a person would write."""
    for kind, held in value.items():
        if kind == "intValue":
            return int(held)
        if kind == "arrayValue":
            return [_plain(each) for each in held.get("values", [])]
        return _mapping(held.get("values", [])) if kind == "kvlistValue" else held
    return None


def _quoted(value: object) -> str:
    return orjson.dumps(value).decode()


LINES: dict[Signal, Callable[[Json], Iterator[str]]] = {
    Signal.TRACES: _spans,
    Signal.METRICS: _points,
    Signal.LOGS: _records,
}
"""The lines of a request, by its signal."""
