import numpy as np
from numpy.typing import NDArray

NO_VERDICT: int
NOT_SAMPLED: int
SAMPLED: int
MAX_POLICIES: int
"""Policy numbers are below this."""
MAX_THRESHOLDS: int
"""Threshold numbers are below this."""

class VerdictTable:
    """What was decided of traces that are no longer open: 24 bytes and a 4-byte slot each.

    Sampled and not sampled traces are bounded each by a limit, the oldest leaving first. An entry that a record at or
    after the settled position still needs is never evicted, so the limits give way to correctness.
    """

    memory: int
    """Bytes held."""

    def __init__(self, sampled_limit: int, not_sampled_limit: int) -> None: ...
    def __len__(self) -> int: ...
    def add(
        self,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        sampled: NDArray[np.uint8],
        policy: NDArray[np.uint16],
        threshold: NDArray[np.uint8],
        needed_until: int,
    ) -> None:
        """Take verdicts over, replacing older ones of the same traces. Records before `needed_until` may need them.

        Policies and thresholds are numbers that the caller gives meaning to. Raises `MemoryError` when the table can't
        grow any more.
        """
    def settled(self, position: int) -> None:
        """Every record before `position` was processed."""
    def lookup(
        self,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        state: NDArray[np.int8],
        policy: NDArray[np.int16],
        threshold: NDArray[np.uint8],
    ) -> int:
        """Fill `state` (NO_VERDICT, NOT_SAMPLED or SAMPLED), `policy` and `threshold` for each trace id.

        Returns how many have no verdict, which an all-zero id never has.
        """
    def find(self, hi: int, lo: int) -> tuple[bool, int, int] | None:
        """(sampled, policy, threshold) of one trace."""
