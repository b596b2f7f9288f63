"""What policies look at: columns of traces that are due, and the votes they answer with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from processors.tail_sampling.trace_table import Taken

# Votes, as numpy int8. Which outweighs which is `decision.PolicySet`'s affair.
NOT_SAMPLED = 0
SAMPLED = 1
INVERT_NOT_SAMPLED = 2
INVERT_SAMPLED = 3
DROPPED = 4


@dataclass(frozen=True)
class Traces:
    """Traces to be decided, one row each, in the order of their decision.

    `matches` is the union of what the probes found on their spans; `start` is the earliest start that isn't 0 and `end`
    the latest end, in nanoseconds, from the network and so perhaps absurd; `size` is the bytes of the span messages;
    `time_ns` is the stream time of the decision.
    """

    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]
    matches: NDArray[np.uint64]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    randomness: NDArray[np.uint64]
    spans: NDArray[np.uint32]
    size: NDArray[np.uint32]
    time_ns: NDArray[np.int64]

    @classmethod
    def of(cls, taken: Taken, wait_ns: int, now_ns: int) -> Traces:
        """The rows that left the table. A trace's time is when it was due, or `now_ns` where that is earlier."""
        hi, lo, matches, start, end, randomness, spans, size, seen_ns = taken
        time_ns = np.minimum(seen_ns + wait_ns, now_ns)
        return cls(hi, lo, matches, start, end, randomness, spans, size, time_ns)

    def __len__(self) -> int:
        return len(self.hi)

    @cached_property
    def duration(self) -> NDArray[np.uint64]:
        """Nanoseconds from the earliest start to the latest end; 0 where either is unknown or the end comes first."""
        known = (self.start != 0) & (self.end > self.start)
        return np.where(known, self.end - self.start, np.uint64(0))

    def having(self, bits: int) -> NDArray[np.bool_]:
        """Rows that match any of `bits`."""
        matched: NDArray[np.bool_] = (self.matches & np.uint64(bits)) != 0
        return matched
