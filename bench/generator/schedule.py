"""What is sent when: the requests of the three signals, merged into one order.

Traces lead. The logs of a cycle run along with its traces; metrics go round at a rate of their own and report what the
traces have come to. Where traces aren't sent themselves, they still pass by unsent, so that the others have what they
tell of.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.generator.clock import Moment
from bench.generator.explosion import ExplosionRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.generator.clock import Clock
    from bench.generator.logs import LogRequest
    from bench.generator.runner import Pace
    from bench.generator.signals import Signal
    from bench.generator.traffic import Traffic

UNPACED_SPANS = 10_000.0
UNPACED_POINTS = 100_000.0
"""Without a limit on the rate, the signals still come in the proportion of these (or of the rates that are given)."""

_UNPACED_CYCLE_NS = 100_000_000


class Sendable(Protocol):
    """A pre-built request of any signal."""

    sender: int

    def __len__(self) -> int: ...


@dataclass(slots=True)
class Due:
    """One request and when to send it. `key` orders; `at` is the monotonic time, 0 for at once; `until`: when it is no
    longer worth waiting for. `cycle` is a round for metrics. `signal` None: it only passes by."""

    key: float
    at: float
    until: float
    signal: Signal | None
    request: Sendable
    cycle: int
    index: int
    encode: Callable[[], bytes]
    moment: Moment | None = None


class Schedule:
    """The order of one run. `reached`: the cycle of the traces, and how many of its requests are on their way."""

    def __init__(self, traffic: Traffic, pace: Pace, signals: frozenset[Signal], clock: Clock, began: float) -> None:
        """`began`: the monotonic time that due times count from."""
        self._traffic = traffic
        self._pace = pace
        self._signals = signals
        self._clock = clock
        self._began = began
        self._stop_at = began + pace.duration
        self._paced = pace.rate > 0 and (pace.points > 0 or "metrics" not in signals)
        self._rate = pace.rate or UNPACED_SPANS
        self._limit = pace.spans if pace.spans is not None else 1 << 62
        self._reports: dict[int, Moment] = {}
        self.reached = (0, 0)

    def __iter__(self) -> Iterator[Due]:
        streams = [self._traces()]
        if "metrics" in self._signals:
            streams.append(self._metrics())
        if "logs" in self._signals:
            streams.append(self._logs())
        return heapq.merge(*streams, key=lambda due: due.key)

    def sent(self, due: Due) -> None:
        """The request is on its way, or has passed by."""
        if due.signal is None or due.signal == "traces":
            after = due.index + 1
            self.reached = (due.cycle, after) if after < len(self._traffic.requests) else (due.cycle + 1, 0)

    def flush(self) -> Iterator[Due]:
        """Each metrics request once more, as when an SDK is shut down: what the traces came to in the end."""
        metrics = self._traffic.metrics
        if metrics is None or "metrics" not in self._signals:
            return
        last = max((moment.round for moment in self._reports.values()), default=-1) + 1
        until = time.monotonic() + self._pace.drain
        for index, request in enumerate(metrics.requests):
            if not isinstance(request, ExplosionRequest):
                yield self._report(0.0, 0.0, until, last, index)

    def _at(self, key: float) -> float:
        return self._began + key if self._paced else 0.0

    def _over(self, at: float) -> bool:
        return max(at, time.monotonic()) >= self._stop_at

    def _traces(self) -> Iterator[Due]:
        traffic, clock = self._traffic, self._clock
        held: list[Due] = []
        planned = cycle = 0
        lasts = int(traffic.spans / self._rate * 1e9) if self._paced else _UNPACED_CYCLE_NS
        # Nothing is sent before it has ended; without a pace, a cycle may pass as quickly as it likes.
        back = int(traffic.lead / self._rate * 1e9) if self._paced else lasts
        while True:
            clock.start(cycle, time.time_ns() - back, lasts)
            for index, request in enumerate(traffic.requests):
                key = planned / self._rate
                at = self._at(key)
                if planned >= self._limit or self._over(at):
                    for due in sorted(held, key=lambda due: due.at):
                        due.key = float("inf")
                        yield due
                    return
                planned += len(request)
                due = self._trace(key, at, cycle, index)
                if request.late:
                    due.at = max(at, time.monotonic()) + self._pace.late_by
                    due.until = max(self._stop_at, due.at + self._pace.drain)
                    held.append(due)
                    continue
                while held and held[0].at <= time.monotonic():
                    late = held.pop(0)
                    late.key = key
                    yield late
                yield due
            cycle += 1

    def _trace(self, key: float, at: float, cycle: int, index: int) -> Due:
        request, clock, position = self._traffic.requests[index], self._clock, self._traffic.position
        ends = clock.ends(cycle, position)
        signal: Signal | None = "traces" if "traces" in self._signals else None
        return Due(key, at, self._stop_at, signal, request, cycle, index, lambda: request.encode(cycle, ends))

    def _logs(self) -> Iterator[Due]:
        logs, spans, clock = self._traffic.logs, self._traffic.spans, self._clock
        if logs is None:
            raise ValueError("this traffic has no logs")
        cycle = 0
        while logs.requests:
            for index, request in enumerate(logs.requests):
                passed = (cycle + request.position) * spans
                key = passed / self._rate
                at = self._at(key)
                if passed >= self._limit or self._over(at):
                    return
                number = cycle

                def encode(request: LogRequest = request, number: int = number) -> bytes:
                    return request.encode(number, clock)

                yield Due(key, at, self._stop_at, "logs", request, cycle, index, encode)
            cycle += 1

    def _metrics(self) -> Iterator[Due]:
        metrics = self._traffic.metrics
        if metrics is None:
            raise ValueError("this traffic has no metrics")
        rate = self._pace.points or UNPACED_POINTS
        planned = number = 0
        while True:
            for index, request in enumerate(metrics.requests):
                key = planned / rate
                at = self._at(key)
                if key * self._rate >= self._limit or self._over(at):
                    return
                planned += len(request)
                yield self._report(key, at, self._stop_at, number, index)
            number += 1

    def _report(self, key: float, at: float, until: float, number: int, index: int) -> Due:
        if self._traffic.metrics is None:
            raise ValueError("this traffic has no metrics")
        request = self._traffic.metrics.requests[index]

        def encode() -> bytes:
            before = self._reports.get(index)
            due.moment = self._reports[index] = Moment(number, *self.reached, time.time_ns())
            return request.encode(due.moment, before, self._clock)

        due = Due(key, at, until, "metrics", request, number, index, encode)
        return due
