"""Where durations are counted: explicit buckets in an array, or exponential ones in sparse counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCALE = 6
"""Exponential buckets are kept 64 to a power of two, and made coarser when they are reported."""
_ZERO = -(1 << 14)
"""The number of the bucket of 0: below those of all durations, which lie within 2**-40 to 2**74 units."""
_SPAN = 1 << 15
_LOOSE = 100_000


class ExplicitBuckets:
    """`counts[series, bucket]`; a value that equals a bound is in the bucket below it."""

    def __init__(self, bounds_ns: Sequence[int], dtype: Any) -> None:
        self.bounds = np.array(bounds_ns, np.uint64)
        self.width = len(bounds_ns) + 1
        self.counts = np.zeros((0, self.width), dtype)

    def number(self, durations: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The bucket of each duration."""
        return np.searchsorted(self.bounds, durations, side="left")

    def coarse(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        """What of the buckets an exemplar each is enough for."""
        return buckets

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
    """Sparse counts by series and bucket of scale `SCALE`; bucket i holds (2**(i/64), 2**((i+1)/64)] units.

    Kept as two sorted columns, what came since in pieces behind them until they are many.
    """

    def __init__(self, unit_ns: int) -> None:
        self._unit_ns = unit_ns
        self._keys: NDArray[np.int64] = np.zeros(0, np.int64)
        self._counts: NDArray[np.float64] = np.zeros(0, np.float64)
        self._pieces: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._loose = 0

    def number(self, durations: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The bucket of each duration; 0 is in none, and has a number of its own below all."""
        logs = np.log2(np.maximum(durations, 1) / self._unit_ns)
        exact = np.ceil(logs * (1 << SCALE)).astype(np.int64) - 1
        return np.where(durations == 0, np.int64(_ZERO), exact)

    def coarse(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        """What of the buckets an exemplar each is enough for: the powers of two."""
        return buckets >> SCALE

    def add(self, series: NDArray[np.int64], buckets: NDArray[np.int64], weights: Any, size: int) -> None:
        """Count spans."""
        del size
        keys, where = np.unique(series * _SPAN + (buckets - _ZERO), return_inverse=True)
        self._pieces.append((keys, np.bincount(where, weights).astype(np.float64)))
        self._loose += len(keys)
        if self._loose > _LOOSE:
            self._gather()

    def _gather(self) -> None:
        if not self._pieces:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pieces)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._pieces)])
        self._keys, where = np.unique(keys, return_inverse=True)
        self._counts = np.bincount(where, counts).astype(np.float64, copy=False)
        self._pieces.clear()
        self._loose = 0

    def reported(self, series: int, max_size: int) -> tuple[int, int, list[float], float]:
        """(scale, offset, counts, zeros), the counts in at most `max_size` buckets."""
        self._gather()
        begin, end = np.searchsorted(self._keys, [series * _SPAN, (series + 1) * _SPAN])
        buckets: NDArray[np.int64] = self._keys[begin:end] % _SPAN + _ZERO
        counts = self._counts[begin:end]
        zeros = 0.0
        if len(buckets) and buckets[0] == _ZERO:
            zeros, buckets, counts = float(counts[0]), buckets[1:], counts[1:]
        if not len(buckets):
            return SCALE, 0, [], zeros
        scale = SCALE
        while int(buckets[-1] - buckets[0]) >= max_size:
            scale, buckets = scale - 1, np.right_shift(buckets, 1)
        low = int(buckets[0])
        return scale, low, np.bincount(buckets - low, counts).tolist(), zeros

    def snapshot(self, size: int) -> bytes:
        """Everything, the keys and then the counts."""
        del size
        self._gather()
        return self._keys.tobytes() + self._counts.tobytes()

    def restore(self, blob: bytes, size: int) -> None:
        """What `snapshot` gave. Raises `ValueError`."""
        keys, counts = np.frombuffer(blob, np.int64).reshape(2, -1)
        if len(keys) and not (keys[0] >= 0 and keys[-1] < size * _SPAN and (np.diff(keys) > 0).all()):
            raise ValueError("a bucket of no series")
        self._keys, self._counts = keys.copy(), counts.view(np.float64).copy()
