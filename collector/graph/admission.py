"""The door: a byte budget on what is inside and unanswered, asked before anything is decoded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from collector.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collector.component.processor import Admitting


class Admission:
    """One budget of `limit` wire bytes for the whole process, and the guards that some pipeline configures.

    Thread-safe. A request larger than the whole budget is admitted when nothing else is inside, so that it isn't
    refused for ever.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inflight = 0
        self._lock = threading.Lock()

    @property
    def inflight(self) -> int:
        """Bytes that are inside now."""
        return self._inflight

    def enter(self, size: int, guards: Sequence[Admitting] = ()) -> None:
        """Take `size` bytes of the budget. Raises `Overloaded`, and then nothing was taken."""
        for guard in guards:
            guard.admit(size, self._inflight)
        with self._lock:
            if self._inflight and self._inflight + size > self.limit:
                raise Overloaded("too many bytes are in flight")
            self._inflight += size

    def leave(self, size: int) -> None:
        """Give `size` bytes back."""
        with self._lock:
            self._inflight -= size
