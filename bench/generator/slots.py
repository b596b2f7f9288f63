"""What the spans sent so far come to in the points of one metrics request: every count, bucket and sum has a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.generator.measurements import explicit_bucket, exponential_bucket, in_unit
from bench.generator.metric_catalogue import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bench.generator.clock import Moment
    from bench.generator.metric_points import Point, PointOffsets
    from bench.generator.sending import Sending


class Slots:
    """Of each point that spans feed: its number, or its count, its sum and its buckets, one slot each.

    A cycle adds the same to each slot as the one before it, so a slot's value is a whole number of cycles and what the
    requests sent of the begun one add.
    """

    def __init__(self, rows: Sequence[Point], found: PointOffsets, delta: NDArray[np.bool_], sending: Sending) -> None:
        first: dict[int, int] = {}
        deltas: list[int] = []
        increments: list[tuple[int, int, int]] = []
        for row, point in enumerate(rows):
            if point.series is not None:
                first[row] = len(deltas)
                increments += _increments(point, first[row], sending)
                deltas += [int(delta[row])] * _slots(point)
        increments.sort()
        table = np.array(increments, np.int64).reshape(-1, 3)
        self._count = len(deltas)
        self._when, self._slot, self._amount = table[:, 0], table[:, 1], table[:, 2].astype(np.float64)
        self._cycle = self._first(len(table))
        self._deltas = np.array(deltas, np.int64)
        whole = [(at, first[row]) for at, row in (*found.numbers, *found.counts) if row in first]
        whole += [(at, first[row] + 2 + bucket) for at, row, bucket in found.buckets]
        self._whole_at, self._whole = _columns(whole)
        self._sum_at, self._sum = _columns([(at, first[row] + 1) for at, row in found.sums])
        self._unit = np.array([1e9 if rows[row].metric.unit == "s" else 1.0 for _, row in found.sums], np.float64)
        self._varint_at, self._varint = _columns([(at, first[row] + 2 + bucket) for at, row, bucket in found.varints])

    def _first(self, increments: int) -> NDArray[np.int64]:
        """What the first so many increments of a cycle add to each slot. Exact: far below 2^53."""
        return np.bincount(self._slot[:increments], self._amount[:increments], self._count).astype(np.int64)

    def _at(self, moment: Moment) -> NDArray[np.int64]:
        return moment.cycle * self._cycle + self._first(int(np.searchsorted(self._when, moment.index)))

    def write(
        self,
        data: NDArray[np.uint8],
        little: NDArray[np.int64],
        double: NDArray[np.float64],
        *,
        moment: Moment,
        since: Moment | None,
    ) -> None:
        """Overwrite the payload's numbers; `little` and `double` are views of `data`. Deltas count from `since`."""
        values = self._at(moment)
        if since is not None:
            values = values - self._at(since) * self._deltas
        little[self._whole_at] = values[self._whole]
        double[self._sum_at] = values[self._sum] / self._unit
        if len(self._varint_at):
            counts = values[self._varint]
            for group in range(5):
                seven = (counts >> (7 * group)) & 0x7F
                data[self._varint_at + group] = (seven | (0x80 if group < 4 else 0)).astype(np.uint8)


def _slots(point: Point) -> int:
    kind = point.metric.kind
    if kind == "counter":
        return 1
    if kind == "histogram":
        return 3 + len(BOUNDS[point.metric.unit])
    return 2 + point.buckets if kind == "exponential_histogram" else 2


def _increments(point: Point, slot: int, sending: Sending) -> Iterator[tuple[int, int, int]]:
    """(index of the trace request, slot, amount) of all that a cycle adds to the point."""
    if point.series is None:
        return
    kind, unit = point.metric.kind, point.metric.unit
    offset = point.first_bucket if kind == "exponential_histogram" else 0
    for span, amount in zip(point.series.spans, point.series.amounts, strict=True):
        at = int(sending.request_of[span])
        if kind == "counter":
            yield at, slot, amount
            continue
        yield at, slot, 1
        yield at, slot + 1, amount
        if kind == "histogram":
            yield at, slot + 2 + explicit_bucket(in_unit(amount, unit), BOUNDS[unit]), 1
        elif kind == "exponential_histogram":
            yield at, slot + 2 + exponential_bucket(in_unit(amount, unit)) - offset, 1


def _columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    table = np.array(pairs, np.intp).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1].copy()
