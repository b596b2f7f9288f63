"""Processors that go by the sampler's verdicts: what they hold back, the log holds for them."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.component.processor import Lookahead, Verdicts
from collector.component.trace_board import UNDECIDED
from collector.wire import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from collector.batch import Batch
    from collector.component.base import BuildContext

    Traces = tuple[NDArray[np.uint64], NDArray[np.uint64]]

MOST_WAITING = 2_000_000
"""Trace ids that are waited for at once, 16 bytes each; then the head waits for the tail."""


@dataclass(slots=True)
class _Waiting:
    """Records from `position` on, with the traces of theirs that were undecided at the board's `version`."""

    position: int
    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]
    until_ns: int
    version: int = -1


class VerdictFollower(Lookahead):
    """A lookahead processor that lets a record pass when the traces that it speaks of are decided, or `max_wait_ns`
    after it was observed in this life, whichever comes first.

    A subclass says of which traces (`traces_of`) and acts in `process` by `self.board`, where a trace may be undecided
    still, or no longer be known. It has no verdicts of its own: what passed twice because of a crash may be treated by
    what is known the second time.
    """

    journal_entries = 0

    def __init__(self, config: Any, context: BuildContext, *, max_wait_ns: int) -> None:
        super().__init__(config, context)
        self.board = context.board
        self._max_wait_ns = max_wait_ns
        self._waiting: deque[_Waiting] = deque()
        self._ids = 0
        self._observed = 0

    @classmethod
    def goes_by_verdicts(cls, config: Any) -> bool:
        """See `Component`."""
        del config
        return True

    @abstractmethod
    def traces_of(self, batch: Batch) -> Traces:
        """The trace ids, as in `SpanIndex` and never all zero, whose verdicts `process` will want. Repeats are fine."""

    def observe(self, batch: Batch, position: int, upto: int, now_ns: int) -> None:
        """See `Lookahead`."""
        del now_ns
        self._observed = upto
        try:
            hi, lo = self.traces_of(batch)
        except Malformed:
            return  # at the tail it is an error, which sends it to the dead letter
        if len(hi):
            self._ids += len(hi)
            self._waiting.append(_Waiting(position, hi, lo, self.board.elapsed_ns + self._max_wait_ns))

    def tick(self, now_ns: int) -> Iterable[Batch]:
        """See `Processor`; nothing is held, so nothing is returned."""
        del now_ns
        return ()

    def boundary(self) -> int:
        """See `Lookahead`."""
        while self._waiting and self._is_over(self._waiting[0]):
            self._ids -= len(self._waiting.popleft().hi)
        return self._waiting[0].position if self._waiting else self._observed

    def _is_over(self, first: _Waiting) -> bool:
        if first.version != self.board.version:
            undecided = self.board.look_up(first.hi, first.lo) == UNDECIDED
            first.version = self.board.version
            self._ids -= len(first.hi) - int(np.count_nonzero(undecided))
            first.hi, first.lo = first.hi[undecided], first.lo[undecided]
        return not len(first.hi) or self.board.elapsed_ns >= first.until_ns

    def has_room(self) -> bool:
        """See `Lookahead`."""
        return self._ids < MOST_WAITING

    def shed(self, position: int) -> None:
        """See `Lookahead`."""
        for each in self._waiting:
            if each.position >= position:
                break
            each.until_ns = 0

    def decide_all(self) -> None:
        """See `Lookahead`."""
        self._waiting.clear()
        self._ids = 0

    def take_verdicts(self) -> Verdicts | None:
        """See `Lookahead`."""
        return None

    def restore(self, blob: bytes) -> None:
        """See `Lookahead`."""
        del blob

    def settled(self, position: int) -> None:
        """See `Lookahead`."""
        del position
