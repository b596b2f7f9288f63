"""The bytes that all logs of a connector may take together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collector.connectors.disk.log import DiskLog

_PRESSURE = 0.85


class Room:
    """At most `limit` bytes in all of `logs`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.logs: list[DiskLog] = []

    @property
    def used(self) -> int:
        """Bytes of all files, as of the last write to each."""
        return sum(log.size for log in self.logs)

    def is_full(self) -> bool:
        """Whether nothing more may be taken, in view of what waits to be written."""
        return self.used + sum(log.waiting_bytes for log in self.logs) >= self.limit

    def is_short(self) -> bool:
        """Whether some must be freed soon."""
        return self.used >= _PRESSURE * self.limit

    def presses(self, log: DiskLog) -> bool:
        """Whether it is `log` that should give some back: one that takes less than its part would free too little."""
        return self.is_short() and log.size * len(self.logs) >= self.used

    def relieve(self) -> None:
        """Let go of what nobody of this configuration reads, before a sender is refused for it."""
        for log in self.logs:
            log.relieve()
