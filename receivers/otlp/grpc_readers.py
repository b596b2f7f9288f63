"""Who is waiting for a request's message, so that senders who never send one can't hold every thread."""

from __future__ import annotations

import threading
import time
from typing import Protocol

_SLOW_SECONDS = 0.1


class Cancellable(Protocol):
    """An RPC that can be ended from outside."""

    def cancel(self) -> object: ...


class Readers:
    """The RPCs whose thread waits for the message. Thread-safe.

    One that waits longer than `timeout` seconds is cut. When more than `most` wait at once, threads run out:
    then all those are cut that have waited longer than a tenth of a second, oldest first, until `most` are
    left. Their senders see CANCELLED, which OTLP senders retry.
    """

    def __init__(self, most: int, timeout: float) -> None:
        self._most = max(most, 1)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[float, Cancellable]] = {}
        self._cut: set[int] = set()
        self._next = 0

    def enter(self, call: Cancellable) -> int:
        """`call` begins to wait; the number goes to `leave`."""
        with self._lock:
            self._next += 1
            self._waiting[self._next] = (time.monotonic(), call)
            return self._next

    def leave(self, number: int) -> bool:
        """The wait is over. Whether it was cut."""
        with self._lock:
            self._waiting.pop(number, None)
            if number in self._cut:
                self._cut.remove(number)
                return True
            return False

    def sweep(self, now: float) -> None:
        """Cut whoever has waited too long at monotonic time `now`."""
        with self._lock:
            over = len(self._waiting) - self._most
            chosen: list[tuple[int, Cancellable]] = []
            for number, (since, call) in self._waiting.items():  # oldest first
                limit = _SLOW_SECONDS if len(chosen) < over else self._timeout
                if now - since < limit:
                    break
                chosen.append((number, call))
            self._take(chosen)

    def close(self) -> None:
        """The server stops: nobody needs to wait any longer."""
        with self._lock:
            self._take([(number, call) for number, (_, call) in self._waiting.items()])

    def _take(self, chosen: list[tuple[int, Cancellable]]) -> None:
        for number, call in chosen:
            del self._waiting[number]
            self._cut.add(number)
            call.cancel()
