"""Where durations are counted: explicit buckets in an array, or exponential ones in sparse counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCALE = 6
"""Exponential buckets are 64 to a power of two at first."""
_ZERO = -(1 << 14)
"""The number of the bucket of 0: below those of all durations, which lie within 2**-40 to 2**74 units."""
_SPAN = 1 << 15
_SCALE_KEY = _SPAN - 1
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
    """Sparse counts by series and bucket; bucket i of scale s holds (2**(i/2**s), 2**((i+1)/2**s)] units.

    Every series begins with scale `SCALE`. One whose durations come to lie in more than `max_size` buckets, from the
    first to the last, gets coarser ones for good: that is as much as a report tells, and bounds what a series takes.
    Kept as two sorted columns, what came since in pieces behind them until they are many.
    """

    def __init__(self, unit_ns: int, max_size: int) -> None:
        self._unit_ns = unit_ns
        self._max_size = max_size
        self._scales: NDArray[np.int64] = np.zeros(0, np.int64)
        self._keys: NDArray[np.int64] = np.zeros(0, np.int64)
        self._counts: NDArray[np.float64] = np.zeros(0, np.float64)
        self._pieces: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._loose = 0

    def number(self, durations: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The bucket of each duration in scale `SCALE`; 0 is in none, and has a number of its own below all."""
        logs = np.log2(np.maximum(durations, 1) / self._unit_ns)
        exact = np.ceil(logs * (1 << SCALE)).astype(np.int64) - 1
        return np.where(durations == 0, np.int64(_ZERO), exact)

    def coarse(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        """What of the buckets an exemplar each is enough for: the powers of two."""
        return buckets >> SCALE

    def add(self, series: NDArray[np.int64], buckets: NDArray[np.int64], weights: Any, size: int) -> None:
        """Count spans; there are `size` series now."""
        self._grow(size)
        keys, where = np.unique(_keys(series, buckets, SCALE - self._scales[series]), return_inverse=True)
        self._pieces.append((keys, np.bincount(where, weights).astype(np.float64)))
        self._loose += len(keys)
        if self._loose > _LOOSE:
            self._gather()

    def _grow(self, size: int) -> None:
        if size > len(self._scales):
            self._scales = np.concatenate([self._scales, np.full(2 * size - len(self._scales), SCALE, np.int64)])

    def _gather(self) -> None:
        if not self._pieces:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pieces)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._pieces)])
        self._merge(keys, counts)
        self._pieces.clear()
        self._loose = 0
        self._coarsen()

    def _merge(self, keys: NDArray[np.int64], counts: NDArray[np.float64]) -> None:
        self._keys, where = np.unique(keys, return_inverse=True)
        self._counts = np.bincount(where, counts).astype(np.float64, copy=False)

    def _coarsen(self) -> None:
        """Give each series whose buckets are too many the finest scale in which they aren't."""
        series, buckets = self._keys // _SPAN, self._keys % _SPAN + _ZERO
        counted = np.flatnonzero(buckets != _ZERO)
        first = counted[np.flatnonzero(np.diff(series[counted], prepend=-1))]
        last = counted[np.flatnonzero(np.diff(series[counted], append=-1))]
        by = np.zeros(len(first), np.int64)
        while (wide := (buckets[last] >> by) - (buckets[first] >> by) >= self._max_size).any():
            by[wide] += 1
        if by.any():
            of_series = np.zeros(len(self._scales), np.int64)
            of_series[series[first]] = by
            self._scales -= of_series
            self._merge(_keys(series, buckets, of_series[series]), self._counts)

    def reported(self, series: int) -> tuple[int, int, list[float], float]:
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
        low = int(buckets[0])
        return int(self._scales[series]), low, np.bincount(buckets - low, counts).tolist(), zeros

    def snapshot(self, size: int) -> bytes:
        """Everything, the keys and then the counts; a coarser scale stands as the count of a key that no bucket has."""
        self._gather()
        coarser = np.flatnonzero(self._scales[:size] != SCALE)
        keys = np.concatenate([self._keys, coarser * _SPAN + _SCALE_KEY])
        counts = np.concatenate([self._counts, self._scales[coarser].astype(np.float64)])
        order = np.argsort(keys)
        return keys[order].tobytes() + counts[order].tobytes()

    def restore(self, blob: bytes, size: int) -> None:
        """What `snapshot` gave. Raises `ValueError`."""
        columns = np.frombuffer(blob, np.int64).reshape(2, -1)
        keys, counts = columns[0], columns[1].view(np.float64)
        if len(keys) and not (keys[0] >= 0 and keys[-1] < size * _SPAN and (np.diff(keys) > 0).all()):
            raise ValueError("a bucket of no series")
        self._grow(size)
        scales = keys % _SPAN == _SCALE_KEY
        if not (np.abs(counts[scales]) <= SCALE + 1).all():
            raise ValueError("a scale that no buckets have")
        self._scales[keys[scales] // _SPAN] = counts[scales].astype(np.int64)
        self._keys, self._counts = keys[~scales], counts[~scales]
        self._coarsen()  # a state of before had all buckets in one scale


def _keys(series: NDArray[np.int64], buckets: NDArray[np.int64], coarser: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of buckets whose scale is that much finer than it should be."""
    keys: NDArray[np.int64] = series * _SPAN + (np.where(buckets == _ZERO, buckets, buckets >> coarser) - _ZERO)
    return keys
