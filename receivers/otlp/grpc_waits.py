"""Who waits for what since when, so that nobody waits for ever and nobody needs a timer of his own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Waiting = TypeVar("Waiting", bound=Hashable)
else:
    Waiting = TypeVar("Waiting")

_SLOW_SECONDS = 0.1


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
        over = 0 if self._most is None else len(self._since) - self._most
        chosen: list[Waiting] = []
        for one, since in self._since.items():
            if now - since < (_SLOW_SECONDS if len(chosen) < over else self._timeout):
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
