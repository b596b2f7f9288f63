"""Which streams are in use. Loki keeps each in memory, and refuses new ones over its own limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SWEEP_S = 10.0


class Streams:
    """At most `most` label sets; one that was not written to for `idle_s` makes room for another when it is needed.

    One that is in use is never given up for a new one.
    """

    def __init__(self, most: int, idle_s: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._idle_s = idle_s
        self._clock = clock
        self._used: dict[bytes, float] = {}
        self._swept = float("-inf")

    def __len__(self) -> int:
        return len(self._used)

    def admit(self, labels: bytes) -> bool:
        """Whether entries with these labels may go to a stream of their own; they are in use now."""
        now = self._clock()
        if labels not in self._used and len(self._used) >= self._most and not self._make_room(now):
            return False
        self._used[labels] = now
        return True

    def _make_room(self, now: float) -> bool:
        if now - self._swept < min(_SWEEP_S, self._idle_s):
            return False
        self._swept = now
        self._used = {labels: used for labels, used in self._used.items() if now - used < self._idle_s}
        return len(self._used) < self._most
