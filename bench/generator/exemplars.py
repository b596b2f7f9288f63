"""The exemplars of one metrics request: of each series, the span that was sent last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.generator.identity import hexadecimal
from bench.generator.measurements import in_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bench.generator.clock import Clock, Moment
    from bench.generator.identity import Words
    from bench.generator.metric_points import ExemplarOffsets, Point
    from bench.generator.sending import Sending


class Exemplars:
    """Where the exemplars lie, and of which spans each may be."""

    def __init__(self, rows: Sequence[Point], offsets: list[ExemplarOffsets], sending: Sending) -> None:
        self._sending = sending
        self._time = np.array([each.time for each in offsets], np.intp)
        self._value = np.array([each.value for each in offsets], np.intp)
        self._valued = self._value >= 0
        self._span = np.array([each.span for each in offsets], np.intp)
        self._trace = np.array([each.trace for each in offsets], np.intp)
        self._request = np.array([each.request for each in offsets], np.intp)
        spans: list[int] = []
        values: list[float] = []
        first = []
        for each in offsets:
            point = rows[each.point]
            if point.series is None:
                raise ValueError(f"{point.metric.name}: exemplars come from spans")
            first.append(len(spans))
            spans += point.series.spans
            values += [in_unit(amount, point.metric.unit) for amount in point.series.amounts]
        self._spans = np.array(spans, np.intp)
        self._values = np.array(values, np.float64)
        self._first = np.array(first, np.intp)
        self._last = np.array([*first[1:], len(spans)], np.intp) - 1
        # Sorted, since the spans of a series are in sending order: one search finds them all.
        self._stride = len(sending.sent_before) + 1
        series = np.repeat(np.arange(len(first)), self._last - self._first + 1)
        self._sorted = series * self._stride + sending.request_of[self._spans]

    def write(
        self, big: Words, little: NDArray[np.int64], double: NDArray[np.float64], *, moment: Moment, clock: Clock
    ) -> bool:
        """Overwrite all exemplars with those of that moment. False: some series have none yet; those are left with an
        id of zeros."""
        keys = np.arange(len(self._first)) * self._stride + moment.index
        chosen = np.searchsorted(self._sorted, keys) - 1
        now = chosen >= self._first
        chosen = np.where(now, chosen, self._last)
        spans = self._spans[chosen]
        high, low, span = self._sending.ids(moment.cycle, spans)
        if moment.index or moment.cycle in clock.cycles:
            ended = self._sending.ended(moment.cycle, spans, clock)
        else:
            ended = np.zeros(len(spans), np.int64)
        complete = True
        if not now.all():
            if moment.cycle:
                before = self._sending.ids(moment.cycle - 1, spans)
                high, low, span = (
                    np.where(now, each, old) for each, old in zip((high, low, span), before, strict=True)
                )
                ended = np.where(now, ended, self._sending.ended(moment.cycle - 1, spans, clock))
            else:
                complete = False
                zero = np.uint64(0)
                high, low = np.where(now, high, zero), np.where(now, low, zero)
        big[self._trace], big[self._trace + 8] = high, low
        big[self._span] = span
        big[self._request], big[self._request + 8] = hexadecimal(low)
        little[self._time] = ended
        double[self._value[self._valued]] = self._values[chosen[self._valued]]
        return complete
