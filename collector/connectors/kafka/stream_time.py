"""The time of one partition: what the broker stamped on its records, and what passed since at the end of the log."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_NS = 1_000_000_000
"""A stamp that is further behind than this comes from another leader's clock, and no longer from this one's jitter."""


class StreamTime:
    """Never goes back. Begins at `base_ns`, the stamp of the newest record that nobody will read again, or 0.

    It is never before `newest_ns`, the stamp of the newest record that there is, though records before that one have
    their own time when they are read.

    When the leadership moves to a broker whose clock is behind, its stamps are shifted up by the difference: time would
    otherwise stand still until that clock has caught up, and no trace would be decided. A leader whose clock is ahead
    makes time jump, once; brokers need NTP.
    """

    def __init__(self, base_ns: int = 0, monotonic: Callable[[], int] = monotonic_ns, *, newest_ns: int = 0) -> None:
        self._monotonic = monotonic
        self._stamp = base_ns
        self._shift = 0
        self._stamped_at = self._caught_up_at = monotonic()
        self._sign: object = None
        self._newest = max(base_ns, newest_ns)

    def record(self, timestamp_ms: int) -> int:
        """Nanoseconds of the next record of the log, stamped `timestamp_ms`."""
        time_ns = timestamp_ms * 1_000_000 + self._shift
        if time_ns < self._stamp - STEP_NS:
            self._shift += self._stamp - time_ns
            time_ns = self._stamp
        self._stamp = max(self._stamp, time_ns)
        self._stamped_at = self._caught_up_at = self._monotonic()
        return self._stamp

    def again(self, timestamp_ms: int) -> int:
        """Nanoseconds of a record that is read once more."""
        return min(self._stamp, timestamp_ms * 1_000_000 + self._shift)

    def now(self, sign: object) -> int:
        """At the log's end: the newest stamp, and what passed since.

        `sign` is anything that changes whenever the broker says that there is nothing newer. While it says nothing (it
        is away, or a network is down), spans may be in the log that nobody here knows of, so time stands still.
        """
        if sign != self._sign:
            self._sign = sign
            self._caught_up_at = self._monotonic()
        self._newest = max(self._newest, self._stamp + self._caught_up_at - self._stamped_at)
        return self._newest
