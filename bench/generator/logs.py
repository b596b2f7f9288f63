"""The pre-built logs: OTLP requests as bytes, whose ids and times are overwritten in place on each send.

A cycle of the logs goes with a cycle of the traces: its records carry the ids of that cycle's spans, on the spans'
nodes, at the spans' times.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np
import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.generator.attributes import REQUEST_ID_KEY, REQUEST_ID_PREFIX
from bench.generator.catalogue import SCOPES
from bench.generator.identity import hexadecimal, record_ids, span_ids, trace_ids
from bench.generator.log_records import SEVERITIES, LogShape, Record, records_of
from bench.generator.serialise import BIAS, BLANK_SPAN, BLANK_TRACE, fields, put, resource_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from bench.generator.clock import Clock
    from bench.generator.identity import Words
    from bench.generator.sending import Sending
    from bench.generator.traces import Mix, Span

UID_KEY = "log.record.uid"
"""Attribute of every record: 16 hex digits, a function of seed, cycle and ordinal."""

TRACEPARENT_KEY = "traceparent"
NODE_KEY, COMPONENT_KEY = "butterfly.node.id", "butterfly.component"

_TRACE, _SPAN, _REQUEST, _UID, _CLOCK = "T" * 32, "S" * 16, "R" * 16, "U" * 16, "D" * 24
"""What stands for a record's texts in the pre-built bytes."""

_SAMPLED = 1


def _texts(record: Record) -> dict[str, Any]:
    """The record as Butterfly's nodes write it, with marks for what changes."""
    body: dict[str, Any] = {"timestamp": _CLOCK, "level": record.level, "message": record.message}
    if record.link == "ids":
        body |= {"trace_id": _TRACE, "span_id": _SPAN}
    if record.request:
        body["request_id"] = REQUEST_ID_PREFIX + _REQUEST
    return body | {
        "node_id": f"node-{record.node:03d}",
        "component": SCOPES[record.category][0],
        "fields": record.fields,
    }


def _fill(message: Any, record: Record) -> None:
    message.time_unix_nano = BIAS + record.time
    message.observed_time_unix_nano = BIAS + record.time + record.observed
    message.severity_number = SEVERITIES[record.level]
    message.severity_text = record.level
    put(message.attributes.add(), UID_KEY, _UID)
    if record.link == "ids":
        message.trace_id, message.span_id = BLANK_TRACE, BLANK_SPAN
        message.flags = _SAMPLED
    elif record.link == "traceparent":
        put(message.attributes.add(), TRACEPARENT_KEY, f"00-{_TRACE}-{_SPAN}-01")
    if record.form == "json":
        message.body.string_value = orjson.dumps(_texts(record)).decode()
    elif record.form == "kvlist":
        for key, value in _texts(record).items():
            entry = message.body.kvlist_value.values.add()
            if key == "fields":
                entry.key = key
                for inner, field in value.items():
                    put(entry.value.kvlist_value.values.add(), inner, field)
            else:
                put(entry, key, value)
    else:
        message.body.string_value = record.message
        if record.request:
            put(message.attributes.add(), REQUEST_ID_KEY, REQUEST_ID_PREFIX + _REQUEST)
        put(message.attributes.add(), NODE_KEY, f"node-{record.node:03d}")
        put(message.attributes.add(), COMPONENT_KEY, SCOPES[record.category][0])
        for key, value in record.fields.items():
            put(message.attributes.add(), key, value)


def _serialise(seed: int, sender: int, members: Sequence[tuple[int, Record]]) -> tuple[bytes, list[tuple[int, Record]]]:
    """The request of one sender, and (ordinal, record) in payload order."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    for key, value in resource_of(seed, sender).items():
        put(group.resource.attributes.add(), key, value)
    scopes: dict[str, list[tuple[int, Record]]] = {}
    for ordinal, record in members:
        scopes.setdefault(record.category, []).append((ordinal, record))
    rows = []
    for each in scopes.values():
        scope = group.scope_logs.add()
        scope.scope.name, scope.scope.version = SCOPES[each[0][1].category]
        for ordinal, record in each:
            _fill(scope.log_records.add(), record)
            rows.append((ordinal, record))
    return request.SerializeToString(), rows


class LogRequest:
    """One request of the cycle: its bytes, and what of them is rewritten when it is sent. `rows`: ordinals of its
    records, in payload order. `position`: where in the cycle the last of their traces has ended."""

    late = False

    def __init__(self, sender: int, members: Sequence[tuple[int, Record]], sending: Sending) -> None:
        self.sender = sender
        payload, rows = _serialise(sending.seed, sender, members)
        self.rows: Words = np.array([ordinal for ordinal, _ in rows], np.uint64)
        self._sending = sending
        self._bytes = np.frombuffer(payload, np.uint8).copy()
        size = len(payload) - 7
        self._big: Words = np.ndarray((size,), ">u8", self._bytes, strides=(1,))
        self._little: NDArray[np.int64] = np.ndarray((size,), "<i8", self._bytes, strides=(1,))
        self._trace: Words = np.array([record.trace for _, record in rows], np.uint64)
        self._trace_row = self._trace.astype(np.intp)
        self._span: Words = np.array([max(0, record.span) for _, record in rows], np.uint64)
        self._time = np.array([record.time for _, record in rows], np.int64)
        self.position = float(sending.position[self._trace_row].max())
        self._locate(payload)

    def __len__(self) -> int:
        """Records in the request."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self._bytes)

    def _locate(self, payload: bytes) -> None:
        times: list[tuple[int, int]] = []
        traces: list[tuple[int, int]] = []
        spans: list[tuple[int, int]] = []
        texts: dict[str, list[tuple[int, int]]] = {mark: [] for mark in (_TRACE, _SPAN, _REQUEST, _UID, _CLOCK)}
        for row, (begin, end) in enumerate(_bodies(payload)):
            for number, at, _ in fields(payload, begin, end):
                if number in {1, 11}:
                    times.append((at, row))
                elif number == 9:
                    traces.append((at, row))
                elif number == 10:
                    spans.append((at, row))
            for mark, found in texts.items():
                at = payload.find(mark.encode(), begin, end)
                while at >= 0:
                    found.append((at, row))
                    at = payload.find(mark.encode(), at + len(mark), end)
        self._time_at, self._time_row = _columns(times)
        self._times = self._little[self._time_at] - BIAS
        self._id_at, self._id_row = _columns(traces)
        self._span_at, self._span_row = _columns(spans)
        self._texts = {mark: _columns(found) for mark, found in texts.items()}

    def encode(self, cycle: int, clock: Clock) -> bytes:
        """The request of that cycle, which has started."""
        seed, big = self._sending.seed, self._big
        ends = clock.ends(cycle, self._sending.position)[self._trace_row]
        high, low = trace_ids(seed, cycle, self._trace)
        span = span_ids(seed, cycle, self._span)
        big[self._id_at], big[self._id_at + 8] = high[self._id_row], low[self._id_row]
        big[self._span_at] = span[self._span_row]
        self._little[self._time_at] = self._times + ends[self._time_row]
        first, last = hexadecimal(high)
        third, fourth = hexadecimal(low)
        self._write(_TRACE, first, last, third, fourth)
        self._write(_REQUEST, third, fourth)
        self._write(_SPAN, *hexadecimal(span))
        self._write(_UID, *hexadecimal(record_ids(seed, cycle, self.rows)))
        self._write(_CLOCK, *_rfc3339(ends + self._time))
        return self._bytes.tobytes()

    def _write(self, mark: str, *words: Words) -> None:
        at, row = self._texts[mark]
        for number, word in enumerate(words):
            self._big[at + 8 * number] = word[row]


def _rfc3339(times: NDArray[np.int64]) -> tuple[Words, Words, Words]:
    """`2026-11-28T02:31:09.123Z` of each, 24 characters as three big-endian words."""
    texts = np.datetime_as_string((times // 1_000_000).astype("datetime64[ms]"), unit="ms", timezone="UTC")
    words = texts.astype("S24").view(">u8").reshape(-1, 3).astype(np.uint64)
    return words[:, 0], words[:, 1], words[:, 2]


def _columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    table = np.array(pairs, np.intp).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1].copy()


def _bodies(payload: bytes) -> list[tuple[int, int]]:
    return [
        (begin, end)
        for _, group_begin, group_end in fields(payload, 0, len(payload))
        for part, scope_begin, scope_end in fields(payload, group_begin, group_end)
        if part == 2
        for inner, begin, end in fields(payload, scope_begin, scope_end)
        if inner == 2
    ]


class LogTraffic:
    """All log requests of one cycle, in sending order. `content[ordinal]`: what the record of that ordinal says."""

    def __init__(self, shape: LogShape, mix: Mix, spans: Sequence[Span], sending: Sending) -> None:
        self.shape = shape
        self.sending = sending
        self.content = records_of(spans, shape, mix, Random(sending.seed ^ 0x6C6F6773))
        queues: dict[int, list[tuple[int, Record]]] = {}
        for ordinal, record in enumerate(self.content):
            queues.setdefault(record.node, []).append((ordinal, record))
        chunks = [
            (queue[begin : begin + shape.batch][-1][0], sender, queue[begin : begin + shape.batch])
            for sender, queue in queues.items()
            for begin in range(0, len(queue), shape.batch)
        ]
        chunks.sort(key=lambda each: each[:2])
        self.requests = [LogRequest(sender, members, sending) for _, sender, members in chunks]

    @property
    def records(self) -> int:
        """Records of one cycle."""
        return len(self.content)
