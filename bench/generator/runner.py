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

from bench.ledger import Outcome, SenderLedger
from bench.quantiles import Latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from bench.generator.traffic import Request, Traffic
    from bench.generator.transport import Answer, Transport

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 5.0
_IDLE = 0.25
_UNPACED_CYCLE_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate`: spans a second, 0 for as fast as it goes. The run ends at `duration` seconds or `spans`,
    whichever comes first. `late_by`: seconds that very late requests are held back. `retry_for`: seconds
    until a request is given up. `drain`: seconds to wait at the end for what is in flight."""

    rate: float = 10_000.0
    duration: float = 60.0
    spans: int | None = None
    in_flight: int = 4
    late_by: float = 15.0
    retry_for: float = 60.0
    drain: float = 30.0


@dataclass(slots=True)
class Tally:
    """Running totals, in spans unless said otherwise. `rejected`: turned down by partial successes."""

    sent: int = 0
    acked: int = 0
    refused: int = 0
    unknown: int = 0
    rejected: int = 0
    requests: int = 0
    retries: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    acks: Latencies = field(default_factory=Latencies)


@dataclass(slots=True)
class _Attempt:
    cycle: int
    request: int
    sender: int
    spans: int
    payload: bytes
    first_sent: float
    sent: float
    tries: int = 1
    maybe_in: bool = False


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
    ) -> None:
        self.tally = Tally()
        self._traffic = traffic
        self._transports = transports
        self._pace = pace
        self._ledger = ledger
        self._watch = watch
        self._answers: SimpleQueue[tuple[_Attempt, Answer, float]] = SimpleQueue()
        self._busy = [0] * len(transports)
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
        for due, cycle, index, ends in self._schedule():
            request = self._traffic.requests[index]
            if not self._until(due, request):
                break
            now = time.monotonic()
            payload = request.encode(cycle, ends)
            attempt = _Attempt(cycle, index, request.sender, len(request), payload, now, now)
            self._busy[request.sender] += 1
            self.tally.sent += len(request)
            self.tally.requests += 1
            self.tally.in_flight += 1
            self._send(attempt)
        self._drain()
        self.tally.seconds = time.monotonic() - self._began
        return self.tally

    def _schedule(self) -> Iterator[tuple[float, int, int, NDArray[np.int64]]]:
        """(due time, cycle, index, trace ends) in sending order, to the end of the run."""
        pace, traffic = self._pace, self._traffic
        held: list[tuple[float, int, int, NDArray[np.int64]]] = []
        planned, cycle = 0, 0
        lasts = int(traffic.spans / pace.rate * 1e9) if pace.rate else _UNPACED_CYCLE_NS
        limit = pace.spans if pace.spans is not None else 1 << 62
        stop_at = self._began + pace.duration
        while True:
            ends = traffic.ends(time.time_ns(), lasts)
            for index, request in enumerate(traffic.requests):
                due = self._began + planned / pace.rate if pace.rate else 0.0
                if planned >= limit or max(due, time.monotonic()) >= stop_at:
                    yield from sorted(held, key=lambda entry: entry[:3])
                    return
                planned += len(request)
                if request.late:
                    held.append((max(due, time.monotonic()) + pace.late_by, cycle, index, ends))
                    continue
                while held and held[0][0] <= time.monotonic():
                    yield held.pop(0)
                yield due, cycle, index, ends
            cycle += 1

    def _until(self, due: float, request: Request) -> bool:
        """Handle answers and retries until it is time and the sender has room. False: the run ends before that."""
        give_up = self._began + self._pace.duration
        if request.late:
            give_up = max(give_up, due + self._pace.drain)
        while not self._stopped and time.monotonic() < give_up:
            wait = due - time.monotonic()
            full = self._busy[request.sender] >= self._pace.in_flight
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
        self._transports[attempt.sender].send(attempt.payload, lambda answer: put((attempt, answer, time.monotonic())))

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
            self.tally.rejected += answer.rejected
            # Which spans a partial success turned down isn't said.
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
        self._busy[attempt.sender] -= 1
        self.tally.in_flight -= 1
        if outcome is Outcome.ACKED:
            self.tally.acked += attempt.spans
        elif outcome is Outcome.REFUSED:
            self.tally.refused += attempt.spans
        else:
            self.tally.unknown += attempt.spans
        if self._ledger is not None:
            self._ledger.note(attempt.cycle, attempt.request, outcome, int(attempt.first_sent * 1e9))
