"""A ring of recent verdicts that can be asked why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from processors.tail_sampling.decision import Verdict
    from processors.tail_sampling.traces import Traces

_ROW = np.dtype(
    [
        ("hi", "u8"),
        ("lo", "u8"),
        ("duration", "u8"),
        ("time_ns", "i8"),
        ("spans", "u4"),
        ("size", "u4"),
        ("policy", "u2"),
        ("sampled", "?"),
        ("early", "u1"),
    ]
)


class RecentVerdicts:
    """The last `size` verdicts with what they were based on, 46 bytes each."""

    def __init__(self, size: int) -> None:
        self._rows: NDArray[Any] = np.zeros(size, _ROW)
        self._next = 0

    def add(self, traces: Traces, verdict: Verdict, early: int) -> None:
        """Remember these verdicts; `early` is the number of the cause, 0 for none."""
        size = len(self._rows)
        skip = max(0, len(traces) - size)
        at = (self._next + np.arange(len(traces) - skip)) % size
        rows = self._rows
        for name in ("hi", "lo", "duration", "time_ns", "spans", "size"):
            rows[name][at] = getattr(traces, name)[skip:]
        rows["policy"][at] = verdict.policy[skip:]
        rows["sampled"][at] = verdict.sampled[skip:]
        rows["early"][at] = early
        self._next = (self._next + len(at)) % size

    def find(self, hi: int, lo: int) -> dict[str, int] | None:
        """The newest verdict of a trace."""
        rows = self._rows
        found = np.flatnonzero((rows["hi"] == np.uint64(hi)) & (rows["lo"] == np.uint64(lo)))
        if not len(found):
            return None
        newest = found[np.argmax((found - self._next) % len(rows))]
        return {name: int(rows[name][newest]) for name in _ROW.names or ()}
