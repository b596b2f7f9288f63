"""Quantiles of latencies in bounded memory: counts in buckets that are 1% wide."""

from __future__ import annotations

import math
from collections import Counter

_WIDTH = math.log(1.01)
_SMALLEST = 1e-6


class Latencies:
    """Seconds in, quantiles out, right to within 1% (and never below a microsecond)."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def add(self, seconds: float) -> None:
        self._counts[math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _WIDTH)] += 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The smallest value that at least this share of the values doesn't exceed; 0.0 when there are
        none."""
        wanted = max(1, math.ceil(self.count * share))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return _SMALLEST * math.exp(bucket * _WIDTH)
        return 0.0
