from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Limit = tuple[float, float]
"""Tokens a second, and the most that the bucket holds. It begins full."""

class TokenBuckets:
    """One bucket for the total and one for each of several candidates; None is unlimited.

    A cost is admitted when the bucket has that much, or is full: then it goes into debt, so the rate holds on average and
    nothing is too large for ever. Time is stream time; it never goes back, whatever is given.
    """

    def __init__(self, total: Limit | None, shares: Sequence[Limit | None]) -> None: ...
    def spend(
        self, candidates: NDArray[np.uint8], cost: NDArray[np.uint32], time_ns: NDArray[np.int64]
    ) -> NDArray[np.int16]:
        """For each item, in order, the first candidate (row of `candidates`) whose bucket and the total admit it, or -1."""
