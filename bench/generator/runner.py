"""Sends the traffic at a pace, retries as an SDK does, and keeps the books.

One thread decides everything; transports only hand their answers to its queue. Memory is bounded: every
sender has a fixed number of requests in flight, and when one has no room, the schedule waits.
"""

from __future__ import annotations

import heapq
import random
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from bench.generator.clock import Clock
from bench.generator.schedule import Schedule
from bench.ledger import Outcome, SenderLedger
from bench.quantiles import Latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.generator.clock import Moment
    from bench.generator.schedule import Due
    from bench.generator.signals import Signal
    from bench.generator.traffic import Traffic
    from bench.generator.transport import Answer, Transport

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 5.0
_IDLE = 0.25


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate`: spans a second, 0 for as fast as it goes; `points`: the same of metrics. The run ends at `duration`
    seconds or `spans`, whichever comes first. `late_by`: seconds that very late requests are held back. `retry_for`:
    seconds until a request is given up. `drain`: seconds to wait at the end for what is in flight."""

    rate: float = 10_000.0
    points: float = 1_000.0
    duration: float = 60.0
    spans: int | None = None
    in_flight: int = 4
    late_by: float = 15.0
    retry_for: float = 60.0
    drain: float = 30.0


@dataclass(slots=True)
class Counts:
    """Items of one signal, and its requests. `rejected`: turned down by partial successes."""

    sent: int = 0
    acked: int = 0
    refused: int = 0
    unknown: int = 0
    rejected: int = 0
    requests: int = 0


@dataclass(slots=True)
class Tally:
    """Running totals of all signals, in items (spans, points, records) unless said otherwise."""

    signals: dict[Signal, Counts] = field(default_factory=dict)
    retries: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    acks: Latencies = field(default_factory=Latencies)

    @property
    def sent(self) -> int:
        return sum(counts.sent for counts in self.signals.values())

    @property
    def acked(self) -> int:
        return sum(counts.acked for counts in self.signals.values())

    @property
    def refused(self) -> int:
        return sum(counts.refused for counts in self.signals.values())

    @property
    def unknown(self) -> int:
        return sum(counts.unknown for counts in self.signals.values())

    @property
    def rejected(self) -> int:
        """Turned down by partial successes."""
        return sum(counts.rejected for counts in self.signals.values())

    @property
    def requests(self) -> int:
        return sum(counts.requests for counts in self.signals.values())


@dataclass(slots=True)
class _Attempt:
    signal: Signal
    cycle: int
    request: int
    sender: int
    items: int
    payload: bytes
    first_sent: float
    sent: float
    tries: int = 1
    maybe_in: bool = False
    moment: Moment | None = None


class Runner:
    """One bounded run over the given transports, one per sender."""

    def __init__(
        self,
        traffic: Traffic,
        transports: list[Transport],
        pace: Pace,
        *,
        ledger: SenderLedger | None = None,
        watch: Callable[[Tally], None] | None = None,
        signals: Iterable[Signal] = ("traces",),
    ) -> None:
        self.tally = Tally()
        self._traffic = traffic
        self._transports = transports
        self._pace = pace
        self._ledger = ledger
        self._watch = watch
        self._answers: SimpleQueue[tuple[_Attempt, Answer, float]] = SimpleQueue()
        self._signals = frozenset(signals)
        self._clock = ledger.clock if ledger is not None else Clock()
        self._busy: dict[tuple[Signal | None, int], int] = {}
        self._reporting: set[int] = set()
        self._retries: list[tuple[float, int, _Attempt]] = []
        self._order = 0
        self._stopped = False
        self._jitter = random.Random(traffic.shape.seed)
        self._watched = 0.0
        self._began = 0.0

    def stop(self) -> None:
        """Send nothing new; what is in flight is still waited for. From any thread or signal handler."""
        self._stopped = True

    def run(self) -> Tally:
        """Send until the bounds are reached, wait for the answers, and return the totals."""
        self._began = time.monotonic()
        self._clock.began = time.time_ns()
        schedule = Schedule(self._traffic, self._pace, self._signals, self._clock, self._began)
        self._follow(schedule, iter(schedule))
        if not self._stopped:
            self._follow(schedule, schedule.flush())
        self._drain()
        self.tally.seconds = time.monotonic() - self._began
        return self.tally

    def _follow(self, schedule: Schedule, order: Iterable[Due]) -> None:
        for due in order:
            if not self._until(due):
                break
            if due.signal is not None:
                self._begin(due, due.signal)
            schedule.sent(due)

    def _begin(self, due: Due, signal: Signal) -> None:
        payload = due.encode()
        now = time.monotonic()
        sender, items = due.request.sender, len(due.request)
        attempt = _Attempt(signal, due.cycle, due.index, sender, items, payload, now, now, moment=due.moment)
        self._busy[signal, sender] = self._busy.get((signal, sender), 0) + 1
        if signal == "metrics":
            self._reporting.add(due.index)
        counts = self.tally.signals.setdefault(signal, Counts())
        counts.sent += items
        counts.requests += 1
        self.tally.in_flight += 1
        self._send(attempt)

    def _until(self, due: Due) -> bool:
        """Handle answers and retries until it is time and the sender has room. False: the run ends before that.

        A report waits for the one before it, so that the points of a series arrive in order.
        """
        where = due.signal, due.request.sender
        while not self._stopped and time.monotonic() < due.until:
            wait = due.at - time.monotonic()
            full = self._busy.get(where, 0) >= self._pace.in_flight
            full = full or (due.signal == "metrics" and due.index in self._reporting)
            if wait <= 0 and not full:
                if not self._answers.empty() or self._retries:
                    self._handle(0.0)
                return True
            self._handle(_IDLE if full and wait <= 0 else min(wait, _IDLE))
        return False

    def _drain(self) -> None:
        give_up = time.monotonic() + self._pace.drain
        while self.tally.in_flight and time.monotonic() < give_up:
            self._handle(_IDLE)
        for transport in self._transports:
            transport.close()
        while self.tally.in_flight:
            if self._retries:
                _, _, attempt = self._retries.pop()
            else:
                attempt, answer, _ = self._answers.get()
                if answer.verdict == "ok":
                    self._settle(attempt, Outcome.ACKED)
                    continue
                attempt.maybe_in |= not answer.explicit
            self._settle(attempt, Outcome.UNKNOWN if attempt.maybe_in else Outcome.REFUSED)

    def _send(self, attempt: _Attempt) -> None:
        attempt.sent = time.monotonic()
        put = self._answers.put
        self._transports[attempt.sender].send(
            attempt.payload, lambda answer: put((attempt, answer, time.monotonic())), attempt.signal
        )

    def _handle(self, wait: float) -> None:
        """Wait that long at most for an answer, then take all there are, and send what is due again."""
        now = time.monotonic()
        if self._retries:
            wait = min(wait, max(0.0, self._retries[0][0] - now))
        try:
            entry = self._answers.get(timeout=wait) if wait > 0 else self._answers.get_nowait()
            while True:
                self._take(*entry)
                entry = self._answers.get_nowait()
        except Empty:
            pass
        now = time.monotonic()
        while self._retries and self._retries[0][0] <= now:
            attempt = heapq.heappop(self._retries)[2]
            attempt.tries += 1
            self.tally.retries += 1
            self._send(attempt)
        if self._watch and now - self._watched >= _IDLE:
            self._watched = now
            self.tally.seconds = now - self._began
            self._watch(self.tally)

    def _take(self, attempt: _Attempt, answer: Answer, at: float) -> None:
        if answer.verdict == "ok":
            self.tally.acks.add(at - attempt.sent)
            self.tally.signals[attempt.signal].rejected += answer.rejected
            # Which items a partial success turned down isn't said.
            self._settle(attempt, Outcome.UNKNOWN if answer.rejected else Outcome.ACKED)
            return
        self.tally.statuses[answer.status] = self.tally.statuses.get(answer.status, 0) + 1
        attempt.maybe_in |= not answer.explicit
        if answer.verdict == "retry" and at - attempt.first_sent < self._pace.retry_for:
            backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** (attempt.tries - 1)) * self._jitter.uniform(0.8, 1.2)
            self._order += 1
            heapq.heappush(self._retries, (at + max(backoff, answer.retry_after or 0.0), self._order, attempt))
            return
        self._settle(attempt, Outcome.UNKNOWN if attempt.maybe_in else Outcome.REFUSED)

    def _settle(self, attempt: _Attempt, outcome: Outcome) -> None:
        self._busy[attempt.signal, attempt.sender] -= 1
        self.tally.in_flight -= 1
        if attempt.signal == "metrics":
            self._reporting.discard(attempt.request)
        counts = self.tally.signals[attempt.signal]
        if outcome is Outcome.ACKED:
            counts.acked += attempt.items
        elif outcome is Outcome.REFUSED:
            counts.refused += attempt.items
        else:
            counts.unknown += attempt.items
        if self._ledger is None:
            return
        at = int(attempt.first_sent * 1e9)
        if attempt.moment is not None:
            self._ledger.note_report(attempt.moment, attempt.request, outcome, at)
        elif attempt.signal == "logs":
            self._ledger.note_logs(attempt.cycle, attempt.request, outcome, at)
        else:
            self._ledger.note(attempt.cycle, attempt.request, outcome, at)
