"""What protobuf makes of requests of metrics and logs: the truth for their indexes, as oracle.py is for spans."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import mmh3
import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.wire.logs import LogIndex, scan_logs, validate_logs
from collector.wire.points import PointIndex, scan_metrics, validate_metrics
from collector.wire.rewrite import replace_logs, replace_points, select
from collector.wire.scan import BAD_SPAN_ID, BAD_TRACE_ID, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from google.protobuf.message import Message

KINDS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
POINT_COLUMNS = (
    "time", "start", "flags", "exemplars", "kind", "temporality", "monotonic", "metric", "resource", "scope",
    "attributes", "series",
)  # fmt: skip
LOG_COLUMNS = (
    "time", "observed", "severity", "trace_hi", "trace_lo", "span_id", "flags", "defects", "resource", "scope",
)  # fmt: skip
ANY_DEPTH = 100
REQUESTS: dict[str, Any] = {"metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}
VALIDATE: dict[str, Callable[[bytes], PointIndex | LogIndex]] = {
    "metrics": lambda payload: validate_metrics(payload, max_depth=ANY_DEPTH),
    "logs": lambda payload: validate_logs(payload, max_depth=ANY_DEPTH),
}
SCAN: dict[str, Callable[[bytes], Any]] = {"metrics": scan_metrics, "logs": scan_logs}


def parse(signal: str, payload: bytes) -> Any:
    try:
        return REQUESTS[signal].FromString(payload)
    except DecodeError:
        return None


def mmh(text: bytes) -> int:
    return mmh3.hash64(text, signed=False)[0]


def hash_words(*words: int) -> int:
    return mmh(struct.pack(f"<{len(words)}Q", *words))


def hash_attributes(attributes: Iterable[Any]) -> int:
    total = 0
    for attribute in attributes:
        known = type(attribute)()
        known.CopyFrom(attribute)
        known.DiscardUnknownFields()
        total += mmh(known.SerializeToString(deterministic=True))
    return total % 2**64


def metrics_of(request: Any) -> Iterator[tuple[int, int, Any, Any, Any]]:
    scope = 0
    for resource, of_resource in enumerate(request.resource_metrics):
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                yield resource, scope, of_resource, of_scope, metric
            scope += 1


def points_of(request: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """The row of each data point, and the point."""
    rows = []
    for ordinal, (resource, scope, of_resource, of_scope, metric) in enumerate(metrics_of(request)):
        kind = metric.WhichOneof("data")
        if kind is None:
            continue
        data = getattr(metric, kind)
        named = hash_words(
            hash_attributes(of_resource.resource.attributes), mmh(of_scope.scope.name.encode()),
            mmh(of_scope.scope.version.encode()), hash_attributes(of_scope.scope.attributes),
            mmh(metric.name.encode()), mmh(metric.unit.encode()), KINDS[kind],
        )  # fmt: skip
        temporality = getattr(data, "aggregation_temporality", 0)
        for point in data.data_points:
            attributes = hash_attributes(point.attributes)
            exemplars = 0 if kind == "summary" else len(point.exemplars)
            row = (
                point.time_unix_nano, point.start_time_unix_nano, point.flags, exemplars, KINDS[kind],
                temporality if temporality in (0, 1, 2) else 0, kind == "sum" and data.is_monotonic, ordinal, resource,
                scope, attributes, hash_words(named, attributes),
            )  # fmt: skip
            rows.append((row, point))
    return rows


def identity(raw: bytes, size: int) -> tuple[int, bool]:
    """The id, and whether it is defect."""
    return (int.from_bytes(raw, "big"), False) if len(raw) == size else (0, any(raw))


def records_of(request: Any) -> list[tuple[tuple[Any, ...], Any]]:
    rows = []
    scope = 0
    for resource, of_resource in enumerate(request.resource_logs):
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                trace, bad_trace = identity(record.trace_id, 16)
                span, bad_span = identity(record.span_id, 8)
                row = (
                    record.time_unix_nano, record.observed_time_unix_nano, record.severity_number, trace >> 64,
                    trace & 2**64 - 1, span, record.flags, bad_trace * BAD_TRACE_ID | bad_span * BAD_SPAN_ID, resource,
                    scope,
                )  # fmt: skip
                rows.append((row, record))
            scope += 1
    return rows


ITEMS: dict[str, Callable[[Any], list[tuple[tuple[Any, ...], Any]]]] = {"metrics": points_of, "logs": records_of}
COLUMNS = {"metrics": POINT_COLUMNS, "logs": LOG_COLUMNS}


def same(one: Message, other: Message) -> bool:
    """Compared as bytes: a NaN differs from itself."""
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def check(signal: str, payload: bytes) -> bool:
    """Raises AssertionError where the scanner and protobuf differ; returns whether they accept."""
    request = parse(signal, payload)
    try:
        index = VALIDATE[signal](payload)
    except Malformed:
        index = None
    assert (request is None) == (index is None), "accepted by one of the two alone"
    if request is None or index is None:
        with suppress(Malformed):  # it trusts its input, so it may take more; it must only stay within it
            for name in COLUMNS[signal]:
                getattr(SCAN[signal](payload), name)
        return False
    truth = ITEMS[signal](request)
    for found in (index, SCAN[signal](payload)):
        assert found.count == len(truth), "another number of items"
        rows = list(zip(*(getattr(found, name).tolist() for name in COLUMNS[signal]), strict=True))
        assert rows == [row for row, _ in truth], "other columns"
        assert np.array_equal(found.offset, index.offset)
        assert np.array_equal(found.length, index.length)
    for begin, size, (_, item) in zip(index.offset.tolist(), index.length.tolist(), truth, strict=True):
        assert same(type(item).FromString(payload[begin : begin + size]), item), "an item has other bytes"
    if isinstance(index, PointIndex):
        check_metrics(payload, index, request)
    return True


def check_metrics(payload: bytes, index: PointIndex, request: Any) -> None:
    truth = [metric for *_, metric in metrics_of(request)]
    bodies = zip(index.metric_offset.tolist(), index.metric_length.tolist(), strict=True)
    names = zip(index.name_offset.tolist(), index.name_length.tolist(), strict=True)
    for metric, (begin, size), (at, length) in zip(truth, bodies, names, strict=True):
        assert same(type(metric).FromString(payload[begin : begin + size]), metric), "a metric has other bytes"
        assert payload[at : at + length].decode() == metric.name, "another name"


def expected_selection(signal: str, request: Any, mask: list[bool]) -> Any:
    """The request with only the chosen items, without the metrics, scopes and resources that they leave empty."""
    kept = REQUESTS[signal]()
    kept.CopyFrom(request)
    (resources,) = (field.name for field in kept.DESCRIPTOR.fields)
    scopes, leaves = ("scope_metrics", "metrics") if signal == "metrics" else ("scope_logs", "log_records")
    chosen = iter(mask)
    for resource in getattr(kept, resources):
        for scope in getattr(resource, scopes):
            for leaf in getattr(scope, leaves):
                kind = leaf.WhichOneof("data") if signal == "metrics" else None
                if kind is not None:
                    keep(getattr(leaf, kind).data_points, lambda _: next(chosen))
            if signal == "metrics":
                keep(scope.metrics, has_points)
            else:
                keep(scope.log_records, lambda _: next(chosen))
        keep(getattr(resource, scopes), lambda scope: len(getattr(scope, leaves)) > 0)
    keep(getattr(kept, resources), lambda resource: len(getattr(resource, scopes)) > 0)
    return kept


def has_points(metric: Any) -> bool:
    kind = metric.WhichOneof("data")
    return kind is not None and len(getattr(metric, kind).data_points) > 0


def keep(messages: Any, wanted: Callable[[Any], bool]) -> None:
    kept = [message for message in messages if wanted(message)]
    copies = [type(message).FromString(message.SerializeToString()) for message in kept]
    del messages[:]
    messages.extend(copies)


def check_rewriting(rnd: Random, signal: str, payload: bytes) -> None:
    """Selections and edits of what protobuf accepts."""
    index = SCAN[signal](payload)
    mask = [rnd.random() < 0.5 for _ in range(index.count)]
    request = parse(signal, payload)
    chosen = select(payload, index, np.array(mask, np.bool_))
    assert same(parse(signal, chosen), expected_selection(signal, request, mask)), "another selection"
    items = ITEMS[signal](request)
    edits: dict[int, bytes] = {}
    for row in rnd.sample(range(index.count), min(index.count, 2)):
        items[row][1].time_unix_nano = 12345
        edits[row] = items[row][1].SerializeToString()
    replace = replace_points if signal == "metrics" else replace_logs
    every = [True] * index.count
    for chosen_rows, given in ((every, None), (mask, np.array(mask, np.bool_))):
        out = parse(signal, replace(payload, index, edits, given))
        assert same(out, expected_selection(signal, request, chosen_rows)), "an edit changed something else"
