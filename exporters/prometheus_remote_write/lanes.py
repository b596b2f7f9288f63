"""The way of a staged request to the backend: lanes side by side, each one request at a time, in order.

A request that is refused is divided until the samples that the backend doesn't want stand alone. Copies do no harm in
this, nor when the outcome of a request is unknown: no request has two samples of a series, so each that is sent again
is the newest one that the backend has of its series, and taken again. Older ones come after a crash, or when a sender
repeats itself: the memory of what was taken leaves them out.

Dividing costs requests, so each request has two budgets of divisions. With the first one the largest pieces are divided
first, which finds the borders of what is refused in a row, as all that comes from one sender is. With the second one
the smallest are, which finds what is good between single ones, and what the backend takes gives some back: as long as
dividing brings samples through it goes on. A backend that refuses everything is soon left alone.

An answer 500 may be the fault of one sample, too, or of an outage, or of one replica among several. So what such
answers have led to is tried again and again, in turns with a sample that the backend took, before it is refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from exporters.failing import ALONE, Failing
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.over_http import Answer, Meaning
from exporters.prometheus_remote_write.reasons import NOT_WRITTEN, SERVER_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.prometheus_remote_write.dialect import Dialect
    from exporters.prometheus_remote_write.samples import SampleTable
    from exporters.prometheus_remote_write.sent_file import SentMemory

DIVISIONS = 64
"""Of either kind for a request, beyond what is given back."""

FEW_DIVISIONS = 16
"""The same, while a request was refused as a whole and nothing was taken since: enough for one bad sample."""

PROBES = 8
"""So often a sample fails while another passes before it is the cause of answers 500."""

GIVEN_BACK = 4
"""Divisions for each piece that the backend takes: enough where half of a request is refused, at random places."""


@dataclass(slots=True)
class Piece:
    """Samples `begin` to `end` of the table's order, still to be sent. `failing` is about answers 500 to them."""

    begin: int
    end: int
    failing: Failing = field(default_factory=Failing)
    whole: bool = False
    """Whether it is one request already, a part of one that was divided."""
    attempt: int = 0
    """The lane's attempt that it was last sent with."""


@dataclass(slots=True)
class Lane:
    """What is still to be sent, in order: the pieces of one request, and then the rest. `wide` and `deep` are the
    divisions that this request has left, `taken` is a sample of it that was taken, and attempts are counted."""

    pieces: deque[Piece]
    wide: int = 0
    deep: int = 0
    taken: int | None = None
    attempt: int = 0


@dataclass(slots=True)
class Staged:
    """One staged request. `changes` are those of the totals, until they are durable."""

    table: SampleTable
    changes: tuple[list[tuple[bytes, bytes]], list[tuple[bytes]]] | None
    lanes: list[Lane] = field(default_factory=list)
    counted: bool = False
    sifted: bool = False
    undivided: int = 0
    """Samples that were refused together because no divisions were left."""
    messages: Messages = field(init=False)

    def __post_init__(self) -> None:
        self.messages = Messages(self.table)
        self.lanes = [Lane(deque([Piece(begin, end)])) for begin, end in self.table.lanes if end > begin]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request, and of patience with answers 500, in seconds."""

    samples: int
    bytes: int
    retry_age: float


class LaneSender:
    """Sends the lanes of staged requests. `counted(meaning, samples)` is told of every answer."""

    def __init__(
        self,
        dialect: Dialect,
        limits: Limits,
        clock: Callable[[], float],
        counted: Callable[[Meaning, int], None],
        memory: SentMemory | None = None,
    ) -> None:
        self._dialect = dialect
        self._limits = limits
        self._clock = clock
        self._counted = counted
        self._memory = memory
        self._taken = float("-inf")
        self._divisions = DIVISIONS

    async def send(self, staged: Staged) -> list[Answer]:
        """Send what is left. The answers that stopped a lane: none when nothing is left."""
        if self._memory is not None and not staged.sifted:
            self._sift(staged, self._memory)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._lane(staged, lane)) for lane in staged.lanes if lane.pieces]
        staged.lanes = [lane for lane in staged.lanes if lane.pieces]
        return [answer for task in tasks if (answer := task.result()) is not None]

    def _sift(self, staged: Staged, memory: SentMemory) -> None:
        """Leave out what the backend has; everything before this request was answered."""
        staged.sifted = True
        for lane in staged.lanes:
            piece = lane.pieces[0]
            piece.end = memory.sift(staged.table, piece.begin, piece.end)
            if piece.end == piece.begin:
                lane.pieces.clear()

    async def _lane(self, staged: Staged, lane: Lane) -> Answer | None:
        table = staged.table
        lane.attempt += 1
        while lane.pieces:
            piece = lane.pieces[0]
            piece.attempt = lane.attempt
            end = piece.end
            if not piece.whole:
                lane.wide = lane.deep = self._divisions
                lane.taken = None
                end = table.next(piece.begin, piece.end, self._limits.samples, self._limits.bytes)
            answer = await self._post(staged, piece.begin, end)
            if end < piece.end:
                lane.pieces.appendleft(Piece(piece.begin, end, piece.failing, attempt=lane.attempt))
                piece.begin = end
                piece.failing = Failing()
            if answer.meaning is Meaning.FAILED:
                answer = await self._probed(staged, lane, answer)
            if not self._settle(staged, lane, answer):
                return answer
        return None

    async def _post(self, staged: Staged, begin: int, end: int) -> Answer:
        answer = await self._dialect.post(staged.messages, begin, end)
        self._counted(answer.meaning, end - begin)
        return answer

    async def _probed(self, staged: Staged, lane: Lane, answer: Answer) -> Answer:
        """What became of the first piece, which was answered 500: refused, where it is the cause for sure."""
        piece, good = lane.pieces[0], lane.taken
        piece.failing.again(self._clock(), self._taken)
        divisible = piece.end - piece.begin > 1 and (lane.wide or lane.deep)
        if good is None or divisible or piece.failing.lasted < self._limits.retry_age:
            return answer
        for _ in range(PROBES):
            probe = await self._dialect.post(staged.messages, good, good + 1)
            self._counted(probe.meaning, 0)  # it was counted when it was taken first
            if probe.meaning is not Meaning.TAKEN:
                return answer
            answer = await self._post(staged, piece.begin, piece.end)
            if answer.meaning is not Meaning.FAILED:
                return answer
        return replace(answer, meaning=Meaning.REFUSED, reason=SERVER_ERROR)

    def _settle(self, staged: Staged, lane: Lane, answer: Answer) -> bool:
        """Note what became of the first piece; False where the lane must wait."""
        piece, table = lane.pieces[0], staged.table
        if answer.meaning in {Meaning.TAKEN, Meaning.REFUSED}:
            taken = answer.meaning is Meaning.TAKEN
            if taken:
                self._taken = self._clock()
            # Prometheus 3 answers 400 to an exemplar that is older than its series' newest.
            if (taken or answer.written is not None) and self._written(table, piece, answer):
                lane.deep = min(DIVISIONS, lane.deep + GIVEN_BACK)
                lane.taken = piece.begin
                self._divisions = DIVISIONS
                if self._memory is not None:
                    self._memory.note(table, piece.begin, piece.end)
                lane.pieces.popleft()
            else:
                self._divide(staged, lane, NOT_WRITTEN if taken else answer.reason)
            return True
        if answer.meaning is Meaning.FAILED:
            return self._failed(staged, lane)
        piece.failing.interrupted()
        return False

    def _written(self, table: SampleTable, piece: Piece, answer: Answer) -> bool:
        """Whether the answer's headers, where it has them, say that all was written. Exemplars may be left out."""
        if answer.written is None:
            return True
        samples, histograms, _ = table.counts(piece.begin, piece.end)
        return answer.written[0] >= samples and answer.written[1] >= histograms

    def _divide(self, staged: Staged, lane: Lane, reason: int, *, free: bool = False) -> None:
        """Put the halves of the first piece in its place, or behind the other pieces of its request, which may go in
        any order. A single sample is refused, and a piece when no divisions are left, unless this one is free."""
        pieces = lane.pieces
        piece = pieces.popleft()
        if piece.end - piece.begin == 1 or not (free or lane.wide or lane.deep):
            staged.table.refuse_range(piece.begin, piece.end, reason)
            if piece.end - piece.begin > 1:
                staged.undivided += piece.end - piece.begin
            if not (lane.taken is not None or (pieces and pieces[0].whole)):
                self._divisions = FEW_DIVISIONS
            return
        middle = (piece.begin + piece.end) // 2
        first = Piece(piece.begin, middle, piece.failing.part(), whole=True)
        second = Piece(middle, piece.end, piece.failing.part(), whole=True)
        if free or lane.wide:
            lane.wide -= not free
            _behind(pieces, first, second)
        else:
            lane.deep -= 1
            pieces.extendleft([second, first])

    def _failed(self, staged: Staged, lane: Lane) -> bool:
        """An answer 500. Once it has lasted, the sample that causes it is looked for, provided that the backend takes
        others from then on. What it took before is no sign of that: an outage doesn't begin on all lanes at once.
        Without a sign a lane divides once an attempt, free of charge, or an outage would use up what is needed after
        it. What can't be divided nor probed is refused when it has failed for as long beside others that are taken."""
        piece, age = lane.pieces[0], self._limits.retry_age
        lasted = piece.failing.lasted
        if lasted < age:
            return False
        others = self._taken >= self._clock() - lasted + age
        if piece.end - piece.begin > 1 and (not others or lane.wide or lane.deep):
            self._divide(staged, lane, SERVER_ERROR, free=not others)
            return others
        if piece.failing.beside >= age or lasted >= ALONE * age:
            self._divide(staged, lane, SERVER_ERROR)
            return others
        if piece.whole:
            _behind(lane.pieces, lane.pieces.popleft())
        return others and any(each.whole and each.attempt < lane.attempt for each in lane.pieces)


def _behind(pieces: deque[Piece], *moved: Piece) -> None:
    """Put pieces of the first one's request behind the others of it, which may go in any order, and before the rest."""
    rest = [pieces.pop()] if pieces and not pieces[-1].whole else []
    pieces.extend([*moved, *rest])
