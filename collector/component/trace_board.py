"""What one pipeline knows of a trace and others want to: the sampler's verdict, that somebody asks for it to be kept,
and the ID of the request that it is of."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collector.component.trace_table import TraceTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNDECIDED, DROPPED, KEPT = 0, 1, 2
"""What a board says of a trace. `UNDECIDED` is also what was forgotten, or never seen."""

REMEMBERED = 500_000
"""Verdicts that are known at least, the newest; and as many pins."""


REMEMBERED_REQUESTS = 100_000
"""Traces whose request ID is known, about 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Columns: trace ids as in `SpanIndex`, and whether each trace is kept."""

    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]
    kept: NDArray[np.bool_]


class RequestIds:
    """Request IDs by trace, of a bounded number of traces: the one longest not asked for or told is forgotten first."""

    def __init__(self, remembered: int = REMEMBERED_REQUESTS) -> None:
        self._remembered = remembered
        self._ids: OrderedDict[int, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def tell(self, trace: int, request_id: bytes) -> None:
        """`trace` is the trace ID as one number."""
        self._ids[trace] = request_id
        self._ids.move_to_end(trace)
        if len(self._ids) > self._remembered:
            self._ids.popitem(last=False)

    def ask(self, trace: int) -> bytes | None:
        """The request ID in UTF-8, where it is known."""
        found = self._ids.get(trace)
        if found is not None:
            self._ids.move_to_end(trace)
        return found


class TraceBoard:
    """One a process. The graph puts verdicts on it when they are durable, and never before, so that whoever goes by the
    board agrees with what a restart will say. Touched on the event loop's thread alone.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._verdicts = TraceTable(2 * remembered)
        self._pins = TraceTable(2 * remembered)
        self.request_ids = RequestIds()
        self.version = 0
        """Grows with every verdict: whoever found a trace undecided need not ask again before it has."""
        self.followed = False
        """Whether anybody goes by it. Nothing is remembered before somebody does."""
        self.elapsed_ns = 0
        """Time since the start, which the graph tells: how long somebody has waited for a verdict is not a matter of
        any log's stream time, which runs ahead while there is a backlog."""

    @property
    def memory(self) -> int:
        """Bytes held."""
        return self._verdicts.memory + self._pins.memory

    def publish(self, decided: Decided) -> None:
        """Verdicts that are in the journal."""
        if self.followed and len(decided.hi):
            self.version += 1
            self._verdicts.put(
                np.ascontiguousarray(decided.hi),
                np.ascontiguousarray(decided.lo),
                np.where(decided.kept, np.uint8(KEPT), np.uint8(DROPPED)),
            )

    def look_up(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """`UNDECIDED`, `DROPPED` or `KEPT` for each trace."""
        return _get(self._verdicts, hi, lo)

    def pin(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> None:
        """Ask for these traces to be kept. It counts for those that are undecided, and is no promise."""
        self._pins.put(np.ascontiguousarray(hi), np.ascontiguousarray(lo), np.ones(len(hi), np.uint8))

    @property
    def has_pins(self) -> bool:
        """Whether anybody ever asked."""
        return len(self._pins) > 0

    def pinned(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these traces somebody asked for."""
        return _get(self._pins, hi, lo).view(np.bool_)


def _get(table: TraceTable, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.uint8]:
    found = np.empty(len(hi), np.uint8)
    table.get(np.ascontiguousarray(hi), np.ascontiguousarray(lo), found)
    return found
