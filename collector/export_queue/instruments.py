"""What a queue counts, and what it says in the log while its backend is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from collector.ack import Outcome

if TYPE_CHECKING:
    from logging import Logger

    from collector.telemetry.meter import Meter

_SAY_AGAIN_S = 60.0

_ITEM_OUTCOMES = {
    Outcome.DELIVERED: "delivered",
    Outcome.RETRY: "returned",
    Outcome.REJECTED: "dead_lettered",
}


class _Held(Protocol):
    """What the gauges read when they are scraped."""

    @property
    def bytes(self) -> int: ...

    @property
    def items(self) -> int: ...

    @property
    def retry_wait(self) -> float: ...


class Instruments:
    """The queue's rows of the catalogue, for one exporter."""

    def __init__(self, meter: Meter, exporter: str, held: _Held) -> None:
        attempts = meter.counter("butterfly_export_attempts_total")
        self._attempts = {
            outcome: attempts.labels(exporter=exporter, outcome=outcome)
            for outcome in ("delivered", "partial", "rejected", "retryable", "timeout")
        }
        items = meter.counter("butterfly_export_items_total")
        self._items = {
            outcome: items.labels(exporter=exporter, outcome=outcome)
            for outcome in (*_ITEM_OUTCOMES.values(), "rejected")
        }
        self._seconds = meter.histogram("butterfly_export_seconds").labels(exporter=exporter)
        meter.watch("butterfly_queue_bytes", lambda: held.bytes, exporter=exporter)
        meter.watch("butterfly_queue_items", lambda: held.items, exporter=exporter)
        meter.watch("butterfly_export_retry_wait_seconds", lambda: held.retry_wait, exporter=exporter)

    def attempt(self, outcome: str, seconds: float) -> None:
        """One attempt ended."""
        self._attempts[outcome].inc()
        self._seconds.observe(seconds)

    def settled(self, items: int, outcome: Outcome, rejected: int) -> None:
        """`items` have left the queue; the backend refused `rejected` of them in a partial success."""
        self._items[_ITEM_OUTCOMES[outcome]].inc(items - rejected)
        self._items["rejected"].inc(rejected)


class NotDeliveringLog:
    """Says that deliveries fail, at most once a minute, and after that once that they work again; and as seldom what
    went to the dead letter."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._said = float("-inf")
        self._announced = False
        self._buried = 0
        self._buried_said = float("-inf")
        self.reason = ""

    def note(self, reason: str) -> None:
        """Something failed for `reason`, which holds no payload and no secret."""
        self.reason = reason
        now = time.monotonic()
        if now - self._said >= _SAY_AGAIN_S:
            self._log.warning("not delivering: %s", reason)
            self._said = now
            self._announced = True

    def over(self) -> None:
        """The backend answers."""
        self.reason = ""
        if self._announced:
            self._log.info("delivering again")
            self._announced = False

    def buried(self, items: int, sentence: str) -> None:
        """`items` are in the dead letter; `sentence` says why, as the letter does."""
        self._buried += items
        now = time.monotonic()
        if now - self._buried_said >= _SAY_AGAIN_S:
            self._log.warning("%d item(s) went to the dead letter: %s", self._buried, sentence)
            self._buried_said = now
            self._buried = 0

    def lost(self, items: int) -> None:
        """The queue stops and nobody can keep `items`."""
        self._log.error("%d items could neither be delivered nor written to the dead letter", items)

    def unexpected(self, error: BaseException) -> None:
        """An exporter raised what its contract doesn't know. Only the debug level shows what."""
        self._log.debug("unexpected error in the exporter", exc_info=error)
