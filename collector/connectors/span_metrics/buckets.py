"""Where durations are counted: explicit buckets in an array, or exponential ones in sparse counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCALE = 6
"""Exponential buckets are kept 64 to a power of two, and made coarser when they are reported."""
_SHIFT = 1 << 20


class ExplicitBuckets:
    """`counts[series, bucket]`; a value that equals a bound is in the bucket below it."""

    def __init__(self, bounds_ns: Sequence[int], dtype: Any) -> None:
        self.bounds = np.array(bounds_ns, np.uint64)
        self.width = len(bounds_ns) + 1
        self.counts = np.zeros((0, self.width), dtype)

    def number(self, durations: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The bucket of each duration."""
        return np.searchsorted(self.bounds, durations, side="left")

    def add(self, series: NDArray[np.int64], buckets: NDArray[np.int64], weights: Any, size: int) -> None:
        """Count spans; there are `size` series now."""
        if size > len(self.counts):
            more = np.zeros((max(64, 2 * size - len(self.counts)), self.width), self.counts.dtype)
            self.counts = np.vstack([self.counts, more])
        found = np.bincount(series * self.width + buckets, weights, minlength=size * self.width)
        self.counts[:size] += found.reshape(size, self.width).astype(self.counts.dtype)

    def snapshot(self, size: int) -> bytes:
        """The counts of the first `size` series."""
        return self.counts[:size].tobytes()

    def restore(self, blob: bytes, size: int) -> None:
        """What `snapshot` gave. Raises `ValueError`."""
        self.counts = np.frombuffer(blob, self.counts.dtype).reshape(size, self.width).copy()


class ExponentialBuckets:
    """Sparse counts by series and bucket of scale `SCALE`; bucket i holds (2**(i/64), 2**((i+1)/64)] units."""

    def __init__(self, unit_ns: int) -> None:
        self._unit_ns = unit_ns
        self.zeros: dict[int, float] = {}
        self.counts: dict[int, dict[int, float]] = {}

    def number(self, durations: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The bucket of each duration; 0 is in none, and has a number of its own below all."""
        logs = np.log2(np.maximum(durations, 1) / self._unit_ns)
        exact = np.ceil(logs * (1 << SCALE)).astype(np.int64) - 1
        return np.where(durations == 0, np.int64(-1 - _SHIFT), exact)

    def add(self, series: NDArray[np.int64], buckets: NDArray[np.int64], weights: Any, size: int) -> None:
        """Count spans."""
        del size
        key, where = np.unique(series * (4 * _SHIFT) + buckets + 2 * _SHIFT, return_inverse=True)
        for each, count in zip(key.tolist(), np.bincount(where, weights).tolist(), strict=True):
            number, bucket = divmod(each, 4 * _SHIFT)
            bucket -= 2 * _SHIFT
            if bucket < -_SHIFT:
                self.zeros[number] = self.zeros.get(number, 0) + count
            else:
                of_series = self.counts.setdefault(number, {})
                of_series[bucket] = of_series.get(bucket, 0) + count

    def reported(self, series: int, max_size: int) -> tuple[int, int, list[float]]:
        """(scale, offset, counts) in at most `max_size` buckets."""
        counts = self.counts.get(series)
        if not counts:
            return SCALE, 0, []
        scale, low, high = SCALE, min(counts), max(counts)
        while high - low >= max_size:
            scale, low, high = scale - 1, low >> 1, high >> 1
        dense = [0.0] * (high - low + 1)
        for bucket, count in counts.items():
            dense[(bucket >> (SCALE - scale)) - low] += count
        return scale, low, dense

    def snapshot(self, size: int) -> bytes:
        """Everything, as rows of four numbers."""
        del size
        rows = [(series, bucket, 1.0, count) for series, each in self.counts.items() for bucket, count in each.items()]
        rows += [(series, 0, 0.0, count) for series, count in self.zeros.items()]
        return np.array(rows, np.float64).tobytes()

    def restore(self, blob: bytes, size: int) -> None:
        """What `snapshot` gave. Raises `ValueError`."""
        for series, bucket, positive, count in np.frombuffer(blob, np.float64).reshape(-1, 4).tolist():
            if not 0 <= series < size:
                raise ValueError("a bucket of no series")
            if positive:
                self.counts.setdefault(int(series), {})[int(bucket)] = count
            else:
                self.zeros[int(series)] = count
