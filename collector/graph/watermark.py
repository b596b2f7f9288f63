"""The contiguous low-water mark: the position before which every record is settled."""

from __future__ import annotations

import asyncio
from collections import deque

from collector.ack import Ack, Outcome


class Watermark:
    """Hands out one ack a record, in order, and follows how far they are settled without a gap.

    DELIVERED, FILTERED and REJECTED (it is in the dead letter) settle a record; RETRY leaves it to the next life.
    """

    def __init__(self, start: int) -> None:
        self.position = start
        self.outstanding = 0
        self.quiet = asyncio.Event()
        """Set while nothing is outstanding."""
        self.quiet.set()
        self._open: deque[_Entry] = deque()

    def begin(self, position: int) -> Ack:
        """The ack of the record at `position`, which comes after all that were begun before."""
        entry = _Entry(position + 1)
        self._open.append(entry)
        self.outstanding += 1
        self.quiet.clear()

        def done(outcome: Outcome, _reason: str) -> None:
            self.outstanding -= 1
            if self.outstanding == 0:
                self.quiet.set()
            if outcome is not Outcome.RETRY:
                entry.settled = True
                self._advance()

        return Ack(done)

    def skip(self, upto: int) -> None:
        """Positions before `upto` that were not begun don't exist (damaged or never written)."""
        entry = _Entry(upto)
        entry.settled = True
        self._open.append(entry)
        self._advance()

    def _advance(self) -> None:
        while self._open and self._open[0].settled:
            self.position = self._open.popleft().next


class _Entry:
    __slots__ = ("next", "settled")

    def __init__(self, after: int) -> None:
        self.next = after
        self.settled = False
