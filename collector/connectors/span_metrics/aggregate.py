"""The counts of one partition: spans in, cumulative series out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from collector.connectors.span_metrics.buckets import ExplicitBuckets, ExponentialBuckets
from collector.connectors.span_metrics.columns import Dimensions
from collector.connectors.span_metrics.interner import Interner
from collector.connectors.span_metrics.weights import weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from collector.connectors.span_metrics.options import SpanMetricsOptions
    from collector.wire import SpanIndex

OVERFLOW = 0
"""The series of what is beyond the limit. Series i + 1 is the interner's number i."""
UNITS = {"ms": 1_000_000, "s": 1_000_000_000}
_LAYOUT = 1
_SIZES = struct.Struct("<IIIII")
# of the head, the keys, the calls, the sums, the buckets
_HALF = 32
_LOW = np.uint64((1 << _HALF) - 1)


class Aggregate:
    """Counted since `start_ns`. Nothing is forgotten, so that sums never go back."""

    def __init__(self, options: SpanMetricsOptions) -> None:
        self._options = options
        self.dimensions = Dimensions(options)
        self.start_ns = 0
        self._begin()

    def _begin(self) -> None:
        options = self._options
        self._interner = Interner(options.aggregation_cardinality_limit)
        dtype: Any = np.float64 if options.weighted else np.uint64
        self.calls = np.zeros(64, dtype)
        self._sums_ns = np.zeros((2, 64), dtype)  # what a sum is beyond a multiple of 2**32, and of how many
        self.buckets: ExplicitBuckets | ExponentialBuckets
        if options.histogram.exponential is not None:
            self.buckets = ExponentialBuckets(UNITS[options.histogram.unit], options.histogram.exponential.max_size)
        else:
            self.buckets = ExplicitBuckets(options.histogram.explicit.buckets, dtype)

    def __len__(self) -> int:
        return len(self._interner) + 1

    def fold(
        self, payload: bytes, index: SpanIndex, rows: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        """Count the spans of `index`, those where `rows` holds. Their series, buckets and durations, for exemplars.

        Raises `Malformed`.
        """
        columns = self.dimensions.columns(payload, index)
        series = self._interner.number(columns.payload, columns.texts, columns.integers).astype(np.int64) + 1
        durations = np.where(index.end > index.start, index.end - index.start, np.uint64(0))
        weighted = weights(payload, index) if self._options.weighted else None
        if rows is not None:
            series, durations = series[rows], durations[rows]
            weighted = weighted[rows] if weighted is not None else None
        size = len(self)
        if size > len(self.calls):
            self.calls, self._sums_ns = (_grown(each, 2 * size) for each in (self.calls, self._sums_ns))
        dtype = self.calls.dtype
        self.calls[:size] += np.bincount(series, weighted, minlength=size).astype(dtype)
        if weighted is not None:
            self._sums_ns[0, :size] += np.bincount(series, weighted * durations, minlength=size)
        else:
            self._add_whole(series, durations, size)
        buckets = self.buckets.number(durations)
        if not self._options.histogram.disable:
            self.buckets.add(series, buckets, weighted, size)
        return series, buckets, durations

    def _add_whole(self, series: NDArray[np.int64], durations: NDArray[np.uint64], size: int) -> None:
        """In whole nanoseconds, where doubles would round large sums, and in halves: 2**64 of them are 584 years, which
        eleven spans come to that don't say when they started."""
        low, high = self._sums_ns[:, :size]
        np.add.at(low, series, durations & _LOW)
        if (more := durations >> _HALF).any():
            np.add.at(high, series, more)
        high += low >> _HALF
        low &= _LOW

    def sum_ns(self, series: int) -> float:
        """All durations of a series; a whole number but for weighted ones."""
        low, high = self._sums_ns[:, series].tolist()
        total: float = low + high * (1 << _HALF)
        return total

    def key(self, series: int) -> bytes:
        """What a series other than `OVERFLOW` stands for; `dimensions` reads it."""
        return self._interner.key(series - 1)

    def snapshot(self) -> bytes:
        """All of it."""
        size = len(self)
        head = orjson.dumps(
            {"layout": _LAYOUT, "options": self._fingerprint(), "start_ns": self.start_ns, "size": size}
        )
        keys = [self._interner.key(number) for number in range(size - 1)]
        packed = b"".join(struct.pack("<I", len(key)) + key for key in keys)
        buckets = b"" if self._options.histogram.disable else self.buckets.snapshot(size)
        parts = [head, packed, self.calls[:size].tobytes(), self._sums_ns[:, :size].tobytes(), buckets]
        return _SIZES.pack(*map(len, parts)) + b"".join(parts)

    def restore(self, blob: bytes) -> None:
        """What `snapshot` gave. Raises `ValueError`, and is then as good as new."""
        try:
            self._restore(blob)
        except (ValueError, KeyError, struct.error, TypeError) as error:
            self._begin()
            raise ValueError(str(error) or "it is damaged") from None

    def _restore(self, blob: bytes) -> None:
        at = _SIZES.size
        parts = []
        for size in _SIZES.unpack_from(blob):
            parts.append(blob[at : at + size])
            at += size
        head = orjson.loads(parts[0])
        if head["layout"] != _LAYOUT:
            raise ValueError("another release wrote it")
        if head["options"] != self._fingerprint():
            raise ValueError("what is counted, or how, was changed")
        size, at = head["size"], 0
        for number in range(size - 1):
            (length,) = struct.unpack_from("<I", parts[1], at)
            if self._interner.put(parts[1][at + 4 : at + 4 + length]) != number:
                raise ValueError("there are more series than the limit allows, or one twice")
            at += 4 + length
        self.start_ns = head["start_ns"]
        self.calls, sums = (np.frombuffer(part, self.calls.dtype).copy() for part in parts[2:4])
        if len(self.calls) != size or len(sums) not in {size, 2 * size}:
            raise ValueError("it is damaged")
        self._sums_ns = np.concatenate([sums, np.zeros(2 * size - len(sums), sums.dtype)]).reshape(2, size)
        if sums.dtype == np.uint64:
            self._add_whole(np.zeros(0, np.int64), np.zeros(0, np.uint64), size)  # an older state has no halves
        if not self._options.histogram.disable:
            self.buckets.restore(parts[4], size)

    def _fingerprint(self) -> dict[str, Any]:
        """What must be the same for counts to go on."""
        names = {"dimensions", "exclude_dimensions", "histogram", "weighted"}
        fingerprint: dict[str, Any] = self._options.model_dump(mode="json", include=names)
        return fingerprint


def _grown(counts: NDArray[Any], size: int) -> NDArray[Any]:
    larger = np.zeros((*counts.shape[:-1], size), counts.dtype)
    larger[..., : counts.shape[-1]] = counts
    return larger
