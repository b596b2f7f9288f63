"""Trace context for logs that lack it, and request IDs for logs and exemplars whose trace has one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.api import Batch, BuildContext, Processor, Signal, edit_exemplars, find_exemplars, find_text
from processors.correlation.options import CorrelationOptions
from processors.correlation.trace_context import TraceContext, from_ids, from_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Texts = tuple[NDArray[np.uint32], NDArray[np.uint32]]

_OF_SPAN, _OF_LOG, _OF_EXEMPLAR = 9, 6, 7
"""The numbers of the attributes' field in each message."""
_LONGEST_ID = 256


class Correlation(Processor):
    """See docs/components/correlation.md. In a pipeline of traces it learns request IDs; in those of logs and metrics
    of the same process it goes by them.
    """

    Config = CorrelationOptions
    # Spans pass as they are, so it may stand before a sampler, and learn again after a restart what that reads again.
    # A request ID that it knows at one reading of a log and not at the other is nothing that any lookahead goes by.
    pure = True

    def __init__(self, config: CorrelationOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        self._ids = context.board.request_ids
        self._contexts = [key.encode() for key in config.trace_context_attributes]
        self._trace_ids = [key.encode() for key in config.trace_id_attributes]
        self._span_ids = [key.encode() for key in config.span_id_attributes]
        self._on_spans = [key.encode() for key in config.request_id.span_attributes]
        self._attribute = config.request_id.attribute.encode()
        added = context.meter.counter("butterfly_correlations_total")
        self._counts = {what: added.labels(context.id, what) for what in ("trace_context", "log", "exemplar")}

    def process(self, batch: Batch) -> Iterable[Batch]:
        """See `Processor`."""
        if batch.signal is Signal.TRACES:
            self._learn(batch)
            return (batch,)
        if batch.signal is Signal.METRICS:
            return (self._tell_exemplars(batch),)
        return (self._tell_logs(batch),)

    def _learn(self, batch: Batch) -> None:
        index, payload = batch.index, batch.payload
        at, size = _first(payload, index.offset, index.length, _OF_SPAN, self._on_spans)
        told = (size > 0) & (size <= _LONGEST_ID)
        told[1:] &= (index.trace_lo[1:] != index.trace_lo[:-1]) | ~told[:-1]  # once for spans of a trace in a row
        rows = np.flatnonzero(told)
        known: dict[int, bytes] = {}
        columns = (index.trace_hi[rows], index.trace_lo[rows], at[rows], size[rows])
        for hi, lo, start, length in zip(*(column.tolist() for column in columns), strict=True):
            known[hi << 64 | lo] = payload[start : start + length]
        for trace, request_id in known.items():
            if trace:
                self._ids.tell(trace, request_id)

    def _tell_logs(self, batch: Batch) -> Batch:
        index, payload = batch.index, batch.payload
        contexts = self._contexts_of(payload, index)
        added: dict[int, bytes] = {row: context.to_fields() for row, context in contexts.items()}
        self._counts["trace_context"].inc(len(contexts))
        traces = {row: int.from_bytes(context.trace_id, "big") for row, context in contexts.items()}
        rows = np.flatnonzero(index.trace_hi | index.trace_lo)
        traces |= _numbers(rows, index)
        for row, field in self._missing(payload, (index.offset, index.length), traces, "log").items():
            added[row] = added.get(row, b"") + field
        if batch.mask is not None:
            added = {row: more for row, more in added.items() if batch.mask[row]}
        return batch.rewrite({row: _body(payload, index, row) + more for row, more in added.items()})

    def _contexts_of(self, payload: bytes, index: Any) -> dict[int, TraceContext]:
        """What records without a trace ID say in their attributes, by row."""
        found: dict[int, TraceContext] = {}
        rows = np.flatnonzero(index.trace_hi | index.trace_lo == 0)
        if not len(rows):
            return found
        offset, length = index.offset[rows], index.length[rows]
        for number, text in _texts(payload, *_first(payload, offset, length, _OF_LOG, self._contexts)):
            if (context := from_traceparent(text)) is not None:
                found[int(rows[number])] = context
        span_ids: dict[int, bytes] | None = None
        for number, text in _texts(payload, *_first(payload, offset, length, _OF_LOG, self._trace_ids)):
            if int(rows[number]) in found:
                continue
            if span_ids is None:
                span_ids = dict(_texts(payload, *_first(payload, offset, length, _OF_LOG, self._span_ids)))
            if (context := from_ids(text, span_ids.get(number, b""))) is not None:
                found[int(rows[number])] = context
        return found

    def _tell_exemplars(self, batch: Batch) -> Batch:
        index, payload = batch.index, batch.payload
        if not len(self._ids) or not np.any(index.exemplars):
            return batch
        found = find_exemplars(payload, index)
        rows = np.flatnonzero(found.trace_hi | found.trace_lo)
        if batch.mask is not None:
            rows = rows[batch.mask[found.point[rows]]]
        bodies = found.body_offset, found.body_length
        missing = self._missing(payload, bodies, _numbers(rows, found), "exemplar")
        edits = {}
        for row, field in missing.items():
            start, size = int(found.body_offset[row]), int(found.body_length[row])
            # The tag, as short as may be, the new length, the exemplar as it was, and one attribute more.
            tag = payload[int(found.offset[row])] & 0x7F
            edits[row] = bytes((tag,)) + _varint(size + len(field)) + payload[start : start + size] + field
        return batch.rewrite(edit_exemplars(payload, index, found, edits))

    def _missing(self, payload: bytes, messages: Texts, traces: dict[int, int], what: str) -> dict[int, bytes]:
        """The attribute, as a field, for each row of `traces` that lacks it and whose trace's is known.

        `messages` are the bodies of all rows: offsets and lengths.
        """
        told: dict[int, bytes] = {}
        if not traces or not len(self._ids):
            return told
        number = _OF_LOG if what == "log" else _OF_EXEMPLAR
        rows = np.fromiter(traces, np.intp, len(traces))
        keys = [self._attribute, *self._on_spans]
        _, size = _first(payload, messages[0][rows], messages[1][rows], number, keys)
        for row in rows[size == 0].tolist():
            request_id = self._ids.ask(traces[row])
            if request_id is not None:
                told[row] = _attribute(number, self._attribute, request_id)
        self._counts[what].inc(len(told))
        return told


def _first(
    payload: bytes, offset: NDArray[np.uint32], length: NDArray[np.uint32], field: int, keys: Sequence[bytes]
) -> Texts:
    """Of each message, where the text of the first of `keys` is that it has."""
    at, size = np.zeros(len(offset), np.uint32), np.zeros(len(offset), np.uint32)
    for key in keys:
        left = np.flatnonzero(size == 0)
        if not len(left):
            break
        at[left], size[left] = find_text(payload, offset[left], length[left], field, key)
    return at, size


def _texts(payload: bytes, at: NDArray[np.uint32], size: NDArray[np.uint32]) -> list[tuple[int, bytes]]:
    rows = np.flatnonzero(size)
    places = zip(rows.tolist(), at[rows].tolist(), size[rows].tolist(), strict=True)
    return [(row, payload[start : start + length]) for row, start, length in places]


def _numbers(rows: NDArray[np.intp], ids: Any) -> dict[int, int]:
    columns = (rows, ids.trace_hi[rows], ids.trace_lo[rows])
    return {row: hi << 64 | lo for row, hi, lo in zip(*(column.tolist() for column in columns), strict=True)}


def _body(payload: bytes, index: Any, row: int) -> bytes:
    start = int(index.offset[row])
    return payload[start : start + int(index.length[row])]


@lru_cache(10_000)  # the records of a request come together
def _attribute(number: int, key: bytes, value: bytes) -> bytes:
    """A field of one KeyValue with a string."""
    text = b"\x0a" + _varint(len(value)) + value
    pair = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(text)) + text
    return bytes((number << 3 | 2,)) + _varint(len(pair)) + pair


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
