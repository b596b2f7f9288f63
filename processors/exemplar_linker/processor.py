"""Exemplars and traces agree: what points at a trace leaves when the trace is kept, and not otherwise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from collector.api import (
    DROPPED,
    KEPT,
    Batch,
    BuildContext,
    Signal,
    VerdictFollower,
    edit_exemplars,
    find_exemplars,
    find_text,
)
from processors.exemplar_linker.options import ExemplarLinkerOptions
from processors.exemplar_linker.stash import Stash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from collector.api import Exemplars

    Traces = tuple[NDArray[np.uint64], NDArray[np.uint64]]

_LABELS = 7  # the field `filtered_attributes` of an exemplar
_TRACE_LABELS = (b"trace_id", b"trace.id", b"traceID", b"traceId")
_HEX = re.compile(rb"[0-9a-fA-F]{1,32}")
_FATES = ("kept", "swapped", "trace_dropped", "trace_undecided")


class ExemplarLinker(VerdictFollower):
    """See docs/components/exemplar_linker.md. An exemplar without a trace id points at nothing, and passes.
    What has one as a label alone, as a Prometheus writes it, points at that trace."""

    Config = ExemplarLinkerOptions
    signals = frozenset({Signal.METRICS})

    def __init__(self, config: ExemplarLinkerOptions, context: BuildContext) -> None:
        super().__init__(config, context, max_wait_ns=config.max_wait)
        self._stash = Stash(config.remembered_exemplars if config.swap else 0)
        counter = context.meter.counter("butterfly_exemplars_total")
        self._counts = {fate: counter.labels(context.id, fate) for fate in _FATES}

    @classmethod
    def pins(cls, config: ExemplarLinkerOptions) -> str | None:
        """See `Component`."""
        return "keep_exemplar_traces" if config.keep_exemplar_traces else None

    def traces_of(self, batch: Batch) -> Traces:
        """See `VerdictFollower`."""
        index = batch.index
        if not np.any(index.exemplars):
            return index.time[:0], index.time[:0]
        hi, lo = _traces(batch.payload, find_exemplars(batch.payload, index))
        points_at = hi | lo != 0
        hi, lo = hi[points_at], lo[points_at]
        if self.config.keep_exemplar_traces and len(hi):
            self.board.pin(hi, lo)
        return hi, lo

    def process(self, batch: Batch) -> Iterable[Batch]:
        """See `Processor`."""
        index = batch.index
        if not np.any(index.exemplars):
            return (batch,)
        found = find_exemplars(batch.payload, index)
        hi, lo = _traces(batch.payload, found)
        verdicts = self.board.look_up(hi, lo)
        nowhere = hi | lo == 0
        kept = (verdicts == KEPT) & ~nowhere
        verdicts[nowhere] = KEPT
        if batch.mask is not None:
            verdicts[~batch.mask[found.point]] = KEPT  # of points that an earlier processor removed
        if self.config.swap:
            self._remember(batch.payload, index.series, found, kept)
        self._counts["kept"].inc(int(np.count_nonzero(kept)))
        if (verdicts == KEPT).all():
            return (batch,)
        edits = self._edits(batch.payload, index.series, found, verdicts)
        return (batch.rewrite(edit_exemplars(batch.payload, index, found, edits)),)

    def _remember(self, payload: bytes, series: NDArray[np.uint64], found: Exemplars, kept: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(kept)
        places = zip(series[found.point[rows]].tolist(), found.bucket[rows].tolist(), strict=True)
        starts, sizes = found.offset[rows].tolist(), found.length[rows].tolist()
        for place, start, size in zip(places, starts, sizes, strict=True):
            self._stash.put(place, payload[start : start + size])

    def _edits(
        self, payload: bytes, series: NDArray[np.uint64], found: Exemplars, verdicts: NDArray[np.uint8]
    ) -> dict[int, bytes]:
        """What stands in the place of each exemplar that goes: nothing, or one that the point doesn't have yet."""
        edits: dict[int, bytes] = {}
        present = set(zip(found.point.tolist(), _fields(payload, found), strict=True)) if len(self._stash) else set()
        for row in np.flatnonzero(verdicts != KEPT).tolist():
            point = int(found.point[row])
            other = self._stash.get((int(series[point]), int(found.bucket[row])))
            if other is not None and (point, other) not in present:
                present.add((point, other))
                edits[row] = other
                self._counts["swapped"].inc()
            else:
                edits[row] = b""
                self._counts["trace_dropped" if verdicts[row] == DROPPED else "trace_undecided"].inc()
        return edits


def _traces(payload: bytes, found: Exemplars) -> Traces:
    """The trace that each exemplar points at; zeros where it points at none."""
    hi, lo = found.trace_hi, found.trace_lo
    for key in _TRACE_LABELS:
        silent = np.flatnonzero(hi | lo == 0)
        at, size = find_text(payload, found.body_offset[silent], found.body_length[silent], _LABELS, key)
        said = np.flatnonzero(size)
        if len(said):
            hi, lo = hi.copy(), lo.copy()
        for row, start, length in zip(silent[said].tolist(), at[said].tolist(), size[said].tolist(), strict=True):
            text = payload[start : start + length]
            trace = int(text, 16) if _HEX.fullmatch(text) else 0
            hi[row], lo[row] = trace >> 64, trace & (1 << 64) - 1
    return hi, lo


def _fields(payload: bytes, found: Exemplars) -> list[bytes]:
    return [payload[at : at + size] for at, size in zip(found.offset.tolist(), found.length.tolist(), strict=True)]
