"""Spans that may stand for a bucket, until it is known whether their trace is kept."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collector.component.trace_board import DROPPED, KEPT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from collector.component.trace_board import TraceBoard
    from collector.wire import SpanIndex

_EACH = 8
"""Candidates of one bucket: with a tenth of the traces kept, more than half of the buckets find one."""
_MOST = 50_000
"""Buckets with candidates at the most."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One span. `trace` is its trace ID as two halves."""

    trace: tuple[int, int]
    span_id: int
    duration_ns: int
    time_ns: int


class Candidates:
    """By series and bucket. `board` says which traces are kept; without one all are."""

    def __init__(self, board: TraceBoard | None) -> None:
        self._board = board
        self._waiting: dict[tuple[int, int], deque[Candidate]] = {}

    def offer(
        self,
        index: SpanIndex,
        rows: NDArray[np.intp],
        series: NDArray[np.int64],
        buckets: NDArray[np.int64],
        durations: NDArray[np.uint64],
    ) -> None:
        """Take the last span of each bucket; `rows` are those of `index` that the other columns are about."""
        good = np.flatnonzero(index.defects[rows] == 0)[::-1]
        _, first = np.unique(series[good] << 32 ^ buckets[good], return_index=True)
        chosen = good[first]
        at = rows[chosen]
        columns = (series[chosen], buckets[chosen], index.trace_hi[at], index.trace_lo[at], index.span_id[at])
        more = (durations[chosen], index.end[at])
        for number, bucket, hi, lo, span, duration, end in zip(
            *(column.tolist() for column in (*columns, *more)), strict=True
        ):
            place = (number, bucket)
            waiting = self._waiting.get(place)
            if waiting is None:
                if len(self._waiting) >= _MOST:
                    continue
                waiting = self._waiting[place] = deque(maxlen=_EACH)
            waiting.append(Candidate((hi, lo), span, duration, end))

    def take(self, most: int) -> dict[int, list[Candidate]]:
        """By series: one a bucket, the newest whose trace is kept, of the `most` newest buckets. What is undecided
        waits on; the rest is forgotten."""
        places = list(self._waiting.items())
        verdicts = iter(self._verdicts([each.trace for _, waiting in places for each in waiting]))
        taken: dict[int, list[Candidate]] = {}
        self._waiting = {}
        for place, waiting in places:
            judged = [(each, next(verdicts)) for each in waiting]
            kept = [each for each, verdict in judged if verdict == KEPT]
            if kept:
                taken.setdefault(place[0], []).append(kept[-1])
            undecided = [each for each, verdict in judged if verdict not in {KEPT, DROPPED}]
            if undecided:
                self._waiting[place] = deque(undecided, maxlen=_EACH)
        return {series: sorted(each, key=lambda one: one.time_ns)[-most:] for series, each in taken.items()}

    def _verdicts(self, traces: list[tuple[int, int]]) -> list[int]:
        if self._board is None or not traces:
            return [KEPT] * len(traces)
        hi, lo = (np.array(half, np.uint64) for half in zip(*traces, strict=True))
        found: list[int] = self._board.look_up(hi, lo).tolist()
        return found
