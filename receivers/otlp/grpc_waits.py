"""Who waits for what since when, so that nobody waits for ever and nobody needs a timer of his own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Waiting = TypeVar("Waiting", bound=Hashable)
else:
    Waiting = TypeVar("Waiting")

_SLOW_SECONDS = 0.1
_SOON_SECONDS = 0.05  # a busy event loop lets good senders wait for less
_GROWTH = 32 << 20


class Waits(Generic[Waiting]):
    """Waits of one kind, for the event loop's thread alone. Times are seconds of one monotonic clock.

    One that lasts longer than `timeout` seconds is cut: `cut` is called with it, once. When more than `most` wait at
    the same time, all those are cut that have waited longer than a tenth of a second, oldest first, until `most` are
    left.
    """

    def __init__(self, timeout: float, cut: Callable[[Waiting], object], most: int | None = None) -> None:
        self._timeout = timeout
        self._cut = cut
        self._most = most
        self._since: dict[Waiting, float] = {}  # oldest first

    def enter(self, one: Waiting, now: float) -> None:
        """`one` begins to wait."""
        self._since[one] = now

    def leave(self, one: Waiting) -> bool:
        """The wait is over. False when it was cut."""
        return self._since.pop(one, None) is not None

    def sweep(self, now: float) -> None:
        """Cut whoever has waited too long."""
        self._sweep(now, len(self._since) if self._most is None else self._most, _SLOW_SECONDS)

    def _sweep(self, now: float, most: int, slow: float) -> None:
        over = len(self._since) - most
        chosen: list[Waiting] = []
        for one, since in self._since.items():
            if now - since < (slow if len(chosen) < over else self._timeout):
                break
            chosen.append(one)
        self._take(chosen)

    def close(self) -> None:
        """Nobody needs to wait any longer."""
        self._take(list(self._since))

    def _take(self, chosen: list[Waiting]) -> None:
        for one in chosen:
            del self._since[one]
            self._cut(one)


class Arrivals(Waits[Waiting]):
    """Waits for messages. What has come of them lies in gRPC's memory, which no budget counts.

    So when the process has grown by 32 MiB since only `few` waited, more than those few are too many that have waited
    for a twentieth of a second: otherwise one connection that sends its messages but for the last byte holds a
    hundred of them.
    """

    def __init__(
        self,
        timeout: float,
        cut: Callable[[Waiting], object],
        most: int,
        few: int,
        resident_bytes: Callable[[], int],
    ) -> None:
        super().__init__(timeout, cut, most)
        self._few = min(few, most)
        self._resident_bytes = resident_bytes
        self._before = resident_bytes()

    def sweep(self, now: float) -> None:
        """Cut whoever has waited too long, and look at the memory."""
        resident = self._resident_bytes()
        if len(self._since) <= self._few:
            self._before = resident
        if resident - self._before > _GROWTH:
            self._sweep(now, self._few, _SOON_SECONDS)
        super().sweep(now)
