"""The leading position on a log: shows each record to the lookahead processor, and makes its verdicts durable."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from collector.ack import Ack, Outcome
from collector.errors import StorageError
from collector.graph.chain import Chain
from collector.graph.journal import SharedJournal
from collector.graph.merging import groups, merged
from collector.graph.states import is_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from collector.batch import Batch
    from collector.component.connector import Partition, Record
    from collector.component.processor import Lookahead, Processor, Verdicts
    from collector.component.trace_board import TraceBoard
    from collector.graph.observed import Observed
    from collector.telemetry.ledger import Account

log = logging.getLogger("butterfly.graph")

READ_BYTES = 2 << 20
RETRY_PAUSE_S = 0.5
ROOM_POLL_S = 0.05


class Head:
    """Observes a partition from its committed position on. `allow(position)` is called as the boundary moves.

    The order that makes a crash harmless: the boundary is read, the verdicts behind it are made durable, and only then
    is the tail allowed to pass. Stream time is the records' own while there is a backlog, and the partition's clock at
    the end of the log, so that a restart decides as the first life would have.
    """

    def __init__(
        self,
        partition: Partition,
        before: Sequence[Processor],
        processor: Lookahead,
        account: Account,
        *,
        observed: Observed | None,
        allow: Callable[[int], None],
        journal: SharedJournal | None = None,
        board: TraceBoard | None = None,
    ) -> None:
        self.position = partition.committed
        self.processor = processor
        self._partition = partition
        self._journal = journal or SharedJournal(partition)
        self._before = Chain(before, _not_shown, isolate=True)
        self._account = account
        self._counts = observed
        self._allow = allow
        self._board = board
        self._unsafe: deque[tuple[int, int, Verdicts | None]] = deque()
        self._publishing = asyncio.Lock()
        self._shown = 0

    async def restore(self) -> None:
        """Give the processor the verdicts of earlier lives."""
        for blob in await self._journal.verdicts():
            try:
                self.processor.restore(blob)
                self._show_verdicts(blob)
            except ValueError as error:
                raise StorageError(
                    f"partition {self._partition.name}: the decision journal is unreadable: {error}"
                ) from error

    async def run(self) -> None:
        """Until cancelled. At the end of the log a short pause lets small records gather."""
        while True:
            await self._partition.wait(self.position)
            while not self.processor.has_room():  # noqa: ASYNC110 - a poll while the backend is away
                await asyncio.sleep(ROOM_POLL_S)
            await self.advance()
            if self.position >= self._partition.end:
                await asyncio.sleep(self._partition.pace_s)

    async def advance(self) -> None:
        """Observe what can be read now; nothing, after a pause, when the log can't be read."""
        try:
            chunk = await self._partition.read(self.position, READ_BYTES)
        except StorageError as error:
            log.warning("partition %s: %s", self._partition.name, error)
            await asyncio.sleep(RETRY_PAUSE_S)
            return
        for group in groups(chunk.records):
            if self._counts is not None:
                for record in group:
                    self._account.accept(record.count)
                    self._counts.add(record.position, record.count)
            self._show(group)
        self.position = chunk.next
        await self.publish()

    def _show(self, group: Sequence[Record]) -> None:
        """Decisions that were due before the group come first; what is new in it counts from its last record's time,
        so that no trace is decided before its time."""
        self.processor.tick(group[0].time_ns)
        batch = merged(group, Ack.ignore())
        for shown in self._before.push(batch) if self._before.processors else (batch,):
            self.processor.observe(shown, group[0].position, group[-1].position + 1, group[-1].time_ns)
            shown.ack.resolve(Outcome.DELIVERED)
            self._shown = group[-1].position + 1

    async def tick(self) -> None:
        """At the end of the log time passes by the partition's clock; while there is a backlog, by the records."""
        if self.position >= self._partition.end:
            self.processor.tick(self._partition.now_ns())
        await self.publish()

    async def publish(self) -> None:
        """Make the verdicts taken so far durable, then let the tail pass. A log that can't be written holds it back."""
        boundary = self.processor.boundary()
        if boundary >= self._shown:  # nothing is open: up to what was read, lost and filtered positions included
            boundary = self.position
        verdicts = self.processor.take_verdicts()
        if verdicts is None and self._unsafe:
            # Nothing new to save: the verdicts that still wait are all that this boundary depends on, too.
            _, head, waiting = self._unsafe.pop()
            self._unsafe.append((boundary, head, waiting))
        else:
            self._unsafe.append((boundary, self.position, verdicts))
        async with self._publishing:
            while self._unsafe:
                _, head, verdicts = self._unsafe[0]
                if verdicts is not None and not await self._save(verdicts, head):
                    return
                self._allow(self._unsafe.popleft()[0])

    async def _save(self, verdicts: Verdicts, head: int) -> bool:
        try:
            await self._journal.append(verdicts.blob, verdicts.count, head, self.processor.journal_entries)
        except StorageError as error:
            log.warning("partition %s: verdicts wait for the log: %s", self._partition.name, error)
            await asyncio.sleep(RETRY_PAUSE_S)
            return False
        self._show_verdicts(verdicts.blob)
        return True

    def _show_verdicts(self, blob: bytes) -> None:
        if self._board is not None:
            show_verdicts(self._board, type(self.processor), blob)


def show_verdicts(board: TraceBoard, sampler: type[Lookahead], blob: bytes) -> None:
    """Put on `board` what an entry of a journal that `sampler` writes says of traces; a processor's state says nothing.

    Raises `ValueError` for a damaged one.
    """
    if board.followed and not is_state(blob) and (decided := sampler.decided_in(blob)) is not None:
        board.publish(decided)


def _not_shown(batch: Batch, reason: str) -> None:
    """A processor failed on the first reading: it will fail on the second too, and the tail has a dead letter."""
    del reason
    batch.ack.resolve(Outcome.REJECTED)
