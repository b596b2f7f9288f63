"""One request on its way to Loki: what of it is still to be pushed, in pieces, and what was refused."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from collector.api import Refusal, select
from exporters.failing import Failing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from collector.api import LogIndex
    from exporters.loki.entries import Entries

SPLITS = 64
"""How often one request may be divided in search of what is refused."""


class Source(Protocol):
    """What can be pushed, by position: row of the request, time in nanoseconds, bytes in a push."""

    rows: NDArray[np.uint32]
    times: NDArray[np.uint64]
    sizes: NDArray[np.uint32]

    def body(self, positions: NDArray[np.uint32]) -> bytes:
        """The request of the entries at ascending `positions`, before compression."""


class PushSource:
    """Entries for Loki's push API."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self.rows = entries.rows
        self.times = entries.times
        self.sizes = entries.sizes

    def body(self, positions: NDArray[np.uint32]) -> bytes:
        """`logproto.PushRequest`."""
        return self._entries.push(positions)


class OtlpSource:
    """Log records for Loki's OTLP endpoint."""

    def __init__(self, payload: bytes, index: LogIndex) -> None:
        self._payload = payload
        self._index = index
        self.rows = np.arange(index.count, dtype=np.uint32)
        self.times = np.where(index.time, index.time, index.observed)
        self.sizes = index.length

    def body(self, positions: NDArray[np.uint32]) -> bytes:
        """`ExportLogsServiceRequest`."""
        if len(positions) == self._index.count:
            return self._payload
        mask = np.zeros(self._index.count, np.bool_)
        mask[positions] = True
        return select(self._payload, self._index, mask)


@dataclass(slots=True, eq=False)
class Piece:
    """One push. `failing` is about answers 500, `limited_since` the event loop's time of the first 429."""

    positions: NDArray[np.uint32]
    failing: Failing = field(default_factory=Failing)
    limited_since: float | None = None
    twin: Piece | None = None
    """The other half of a refused piece: if this one is taken, the refused entry is in that one."""

    def __len__(self) -> int:
        return len(self.positions)

    def halve(self) -> tuple[Piece, Piece]:
        """Two pieces of half the entries each, in order."""
        half = len(self.positions) // 2
        halves = self.positions[:half], self.positions[half:]
        first, second = (Piece(each, self.failing.part(), self.limited_since) for each in halves)
        return first, second


@dataclass(slots=True)
class Staged:
    """The state between attempts. `count` is the number of rows of the request."""

    source: Source
    count: int
    pieces: deque[Piece] = field(default_factory=deque)
    splits: int = SPLITS
    _refused: dict[tuple[str, str], NDArray[np.bool_]] = field(default_factory=dict)

    def refuse(self, rows: NDArray[np.uint32] | NDArray[np.intp], reason: str, detail: str = "") -> None:
        """These rows will never be taken."""
        if len(rows):
            self._refused.setdefault((reason, detail), np.zeros(self.count, np.bool_))[rows] = True

    def refuse_piece(self, piece: Piece, reason: str, detail: str = "") -> None:
        """Nothing of this piece will be tried again."""
        self.refuse(self.source.rows[piece.positions], reason, detail)

    def refusals(self) -> list[Refusal]:
        """All that was refused, by reason."""
        return [Refusal(rows, reason, detail) for (reason, detail), rows in self._refused.items()]

    def cut(self, most_bytes: int) -> None:
        """Make the pieces: entries in their order, as many as fit, but at least one."""
        self.pieces = deque(_pieces(self.source.sizes, most_bytes))

    def divide(self, piece: Piece) -> tuple[Piece, Piece]:
        """Use one of the splits."""
        self.splits -= 1
        return piece.halve()


def _pieces(sizes: NDArray[np.uint32], most: int) -> Iterable[Piece]:
    ends = np.cumsum(sizes, dtype=np.uint64)
    first, begun = 0, 0
    while first < len(sizes):
        after = max(int(np.searchsorted(ends, begun + most, side="right")), first + 1)
        yield Piece(np.arange(first, after, dtype=np.uint32))
        first, begun = after, int(ends[after - 1])
