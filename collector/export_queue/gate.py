"""When the next attempt may start: backoff with jitter, and one gate that all requests to a backend share."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.component.exporter import RetryOptions

LONGEST_WISH = 300.0
"""Seconds that a backend may ask to be left alone for; a longer wish is cut to this."""

_MOST_DOUBLINGS = 64


class Backoff:
    """Waits in seconds: `initial_interval * multiplier ** (n - 1)`, jittered, never above `max_interval`."""

    def __init__(self, options: RetryOptions, random_share: Callable[[], float] = random.random) -> None:
        self._initial = options.initial_interval / 1e9
        self._multiplier = options.multiplier
        self._jitter = options.randomization_factor
        self._longest = options.max_interval / 1e9
        self._random_share = random_share

    def wait(self, failures: int, wish: float | None = None) -> float:
        """The wait after failure number `failures` (1, 2, ...), never shorter than the backend's `wish`."""
        grown = self._initial * self._multiplier ** min(failures - 1, _MOST_DOUBLINGS)
        jitter = 1 + self._jitter * (2 * self._random_share() - 1)
        wait = min(min(grown, self._longest) * jitter, self._longest)
        return wait if wish is None else max(wait, min(wish, LONGEST_WISH))


class Gate:
    """One backend's health. While it fails, one attempt at a time probes it, and every other request waits.

    A failure closes the gate when the backend asked for a pause, or when nothing has succeeded since the
    attempt began; otherwise it concerns that one request, which backs off alone. Any answer that isn't
    retryable opens the gate, though never before a pause that the backend asked for is over. Times are the
    event loop's, in seconds.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._until = 0.0
        self._pause_until = 0.0
        self._answered = float("-inf")
        self._probing = False

    @property
    def failing(self) -> bool:
        """Whether the backend has failed and not answered since."""
        return self._failures > 0

    @property
    def until(self) -> float:
        """No attempt starts before this."""
        return max(self._until, self._pause_until)

    @property
    def probing(self) -> bool:
        """Whether the one attempt that a failing backend gets is under way."""
        return self._probing

    def open(self, now: float) -> bool:
        """Whether an attempt may start now."""
        return not self._probing and now >= self.until

    def begin(self) -> None:
        """An attempt starts."""
        self._probing = self.failing

    def answered(self, now: float) -> bool:
        """The backend took a request or refused it for good. Gives whether this ended an outage."""
        recovered = self.failing
        self._failures = 0
        self._until = 0.0
        self._probing = False
        self._answered = now
        return recovered

    def failed(self, began: float, now: float, wish: float | None) -> None:
        """An attempt that began at `began` failed retryably; `wish` is the pause the backend asked for."""
        self._probing = False
        if wish is None and self._answered >= began:
            return
        self._failures += 1
        self._until = max(self._until, now + self._backoff.wait(self._failures, wish))
        if wish is not None:
            self._pause_until = max(self._pause_until, now + min(wish, LONGEST_WISH))

    def abandoned(self) -> None:
        """An attempt was given up without an outcome."""
        self._probing = False
