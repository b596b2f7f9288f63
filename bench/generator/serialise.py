"""One request as protobuf bytes, and where in them the fields lie that change on every send."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.attributes import (
    REQUEST_ID_BLANK,
    REQUEST_ID_PREFIX,
    Attributes,
    resource_attributes,
)
from bench.generator.catalogue import SCOPES
from bench.generator.traces import ERROR, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

BIAS = 1 << 60
"""Added to relative times in the pre-built bytes, so that none of them is zero and so left out."""

BLANK_TRACE = b"\x01" * 16
BLANK_SPAN = b"\x01" * 8
"""Written into the pre-built bytes and overwritten on every send."""

_FLAGS = 0x103  # sampled, random trace id, and "it is known whether the parent is remote"
_STATUS_ERROR = 2
_REQUEST_ID_MARK = REQUEST_ID_BLANK.encode()

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Offsets:
    """Byte offsets into one payload, each with the span ordinal that decides what is written there.

    `trace_*`: 16-byte trace ids. `span_*`: 8-byte span ids, parent ids and links' span ids. `time_*`:
    fixed64 times. `request_*`: the 16 hex digits of a request id.
    """

    trace_at: Positions
    trace_owner: Positions
    span_at: Positions
    span_of: Positions
    time_at: Positions
    time_owner: Positions
    request_at: Positions
    request_owner: Positions


@lru_cache(maxsize=1024)
def resource_of(seed: int, sender: int) -> Attributes:
    """The resource of one node, the same for its traces, metrics and logs."""
    return resource_attributes(sender, Random(seed * 1_000_003 + sender))


def put(into: KeyValue, key: str, value: str | float) -> None:
    """Set one attribute, by the type of its value."""
    into.key = key
    if isinstance(value, bool):
        into.value.bool_value = value
    elif isinstance(value, int):
        into.value.int_value = value
    elif isinstance(value, float):
        into.value.double_value = value
    else:
        into.value.string_value = value


def _fill(message: SpanMessage, span: Span) -> None:
    message.trace_id = BLANK_TRACE
    message.span_id = BLANK_SPAN
    if span.parent >= 0:
        message.parent_span_id = BLANK_SPAN
    message.trace_state = span.tracestate
    message.flags = _FLAGS
    message.name = span.entry.name
    message.kind = span.entry.kind  # type: ignore[assignment]  # the stubs want the enum type, any int is right
    message.start_time_unix_nano = BIAS + span.start
    message.end_time_unix_nano = BIAS + span.end
    for key, value in span.attributes.items():
        put(message.attributes.add(), key, value)
    for event in span.events:
        entry = message.events.add(name=event.name, time_unix_nano=BIAS + event.at)
        for key, value in event.attributes.items():
            put(entry.attributes.add(), key, value)
    if span.link >= 0:
        link = message.links.add(trace_id=BLANK_TRACE, span_id=BLANK_SPAN, flags=_FLAGS)
        put(link.attributes.add(), "butterfly.link.kind", "previous_request")
    if span.flags & ERROR:
        message.status.code = _STATUS_ERROR  # type: ignore[assignment]  # same
        message.status.message = span.message


def serialise(sender: int, seed: int, members: list[Span]) -> tuple[bytes, list[int]]:
    """The request of one sender with these spans, and the spans' ordinals in payload order (grouped by
    scope)."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in resource_of(seed, sender).items():
        put(group.resource.attributes.add(), key, value)
    by_category: dict[str, list[Span]] = {}
    for span in members:
        by_category.setdefault(span.entry.category, []).append(span)
    rows: list[int] = []
    for spans in by_category.values():
        scope = group.scope_spans.add()
        scope.scope.name, scope.scope.version = SCOPES[spans[0].entry.category]
        for span in spans:
            _fill(scope.spans.add(), span)
            rows.append(span.ordinal)
    return request.SerializeToString(), rows


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, begin, end) of each field's content between the offsets; of bytes this module wrote
    itself."""
    while begin < end:
        tag, begin = _varint(data, begin)
        wire_type = tag & 7
        if wire_type == 0:
            _, stop = _varint(data, begin)
        elif wire_type == 1:
            stop = begin + 8
        elif wire_type == 5:
            stop = begin + 4
        else:
            length, begin = _varint(data, begin)
            stop = begin + length
        yield tag >> 3, begin, stop
        begin = stop


def _span_bodies(payload: bytes) -> Iterator[tuple[int, int]]:
    for _, group_begin, group_end in fields(payload, 0, len(payload)):
        for number, scope_begin, scope_end in fields(payload, group_begin, group_end):
            if number == 2:
                for inner, begin, end in fields(payload, scope_begin, scope_end):
                    if inner == 2:
                        yield begin, end


def locate(payload: bytes, rows: list[int], spans: list[Span]) -> Offsets:
    """Find what changes: ids, times and request ids. `rows` are the ordinals of the payload's spans, in
    its order."""
    found = _Found()
    for ordinal, (begin, end) in zip(rows, _span_bodies(payload), strict=True):
        found.visit(payload, begin, end, spans[ordinal])
    columns = [
        np.array(pairs, np.intp).reshape(-1, 2).T for pairs in (found.traces, found.ids, found.times, found.requests)
    ]
    return Offsets(*(column for pair in columns for column in pair))


class _Found:
    """(offset, ordinal) pairs, gathered span by span."""

    def __init__(self) -> None:
        self.traces: list[tuple[int, int]] = []
        self.ids: list[tuple[int, int]] = []
        self.times: list[tuple[int, int]] = []
        self.requests: list[tuple[int, int]] = []

    def visit(self, payload: bytes, begin: int, end: int, span: Span) -> None:
        for number, at, stop in fields(payload, begin, end):
            if number == 1:
                self.traces.append((at, span.ordinal))
            elif number == 2:
                self.ids.append((at, span.ordinal))
            elif number == 4:
                self.ids.append((at, span.parent))
            elif number in {7, 8}:
                self.times.append((at, span.ordinal))
            elif number == 9 and payload.find(_REQUEST_ID_MARK, at, stop) >= 0:
                self.requests.append((stop - len(_REQUEST_ID_MARK) + len(REQUEST_ID_PREFIX), span.ordinal))
            elif number == 11:
                event = fields(payload, at, stop)
                self.times.extend((inner, span.ordinal) for field, inner, _ in event if field == 1)
            elif number == 13:
                link = {field: inner for field, inner, _ in fields(payload, at, stop)}
                self.traces.append((link[1], span.link))
                self.ids.append((link[2], span.link))
