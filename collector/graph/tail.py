"""The trailing position on a log: reads each record once its fate is known, processes it, sends it, and commits."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING

from collector.ack import Ack, Outcome
from collector.errors import OwnershipLostError, StorageError
from collector.graph.chain import Chain
from collector.graph.merging import groups, merged
from collector.graph.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from collector.batch import Batch
    from collector.component.connector import Partition, Record
    from collector.component.processor import Processor
    from collector.export_queue.dead_letter import DeadLetter
    from collector.graph.observed import Observed
    from collector.graph.outlet import Outlet
    from collector.graph.states import States
    from collector.telemetry.ledger import Account

log = logging.getLogger("butterfly.graph")

READ_BYTES = 4 << 20
RETRY_PAUSE_S = 0.5


class Tail:
    """Works through a partition up to a limit that others move forward (`allow`).

    `processed` is called with the position after each record that has been processed. Positions that turn out to be
    unreadable are settled as lost.
    """

    def __init__(
        self,
        partition: Partition,
        processors: Sequence[Processor],
        outlet: Outlet,
        account: Account,
        dead_letter: DeadLetter,
        *,
        books_accepted: bool,
        observed: Observed | None = None,
        processed: Callable[[int], None],
        states: States | None = None,
    ) -> None:
        self.position = partition.committed
        self.limit = partition.committed
        self.watermark = Watermark(partition.committed)
        self._partition = partition
        self._chain = Chain(processors, self._give_up, isolate=True)
        self._outlet = outlet
        self._account = account
        self._dead_letter = dead_letter
        self._books_accepted = books_accepted
        self._observed = observed
        self._processed = processed
        self._states = states
        self._pending: deque[Record] = deque()
        self._unsent: deque[Batch] = deque()
        self._refused: deque[tuple[Batch, str]] = deque()
        self._sending = True
        self._after_pending = self.position
        self._moved = asyncio.Event()
        self._committed = partition.committed

    def allow(self, limit: int) -> None:
        """Every record before `limit` may be processed now."""
        if limit > self.limit:
            self.limit = limit
            self._moved.set()

    async def run(self) -> None:
        """Until cancelled; what was processed and not sent yet stays for `advance` or `abandon`."""
        while True:
            await self.advance()
            self._moved.clear()
            if self.position >= self.limit:
                await self._moved.wait()

    async def advance(self) -> None:
        """Process and send everything before the limit."""
        await self._send()
        while self.position < self.limit:
            if not self._pending:
                try:
                    chunk = await self._partition.read(self.position, READ_BYTES)
                except StorageError as error:
                    log.warning("partition %s: %s", self._partition.name, error)
                    await asyncio.sleep(RETRY_PAUSE_S)
                    continue
                self._pending = deque(chunk.records)
                self._after_pending = chunk.next
            await self._work_off()

    def send_no_more(self) -> None:
        """The log ends with the process and no backend has room: the dead letter takes what `advance` would send."""
        self._sending = False

    def abandon(self) -> None:
        """The pipeline stops: what was processed and neither sent nor dead-lettered stays in the log."""
        left = [*self._unsent, *(batch for batch, _ in self._refused)]
        self._unsent.clear()
        self._refused.clear()
        for batch in left:
            self._account.give_back(len(batch), "stopped")
            batch.ack.resolve(Outcome.RETRY, "stopped")

    async def _work_off(self) -> None:
        while group := self._take():
            acks = []
            for record in group:
                if record.position > self.position:
                    self._skip(record.position)
                self.position = record.position + 1
                acks.append(self.watermark.begin(record.position))
                if self._books_accepted:
                    self._account.accept(record.count)
                if self._observed is not None:
                    self._observed.take(self.position)
            self._unsent.extend(self._chain.push(merged(group, Ack.join(acks), self._account)))
            self._processed(self.position)
            await self._send()
        if not self._pending and self.position < self._after_pending:
            self._skip(self._after_pending)
            self._processed(self.position)
        elif self._pending and self.position < self.limit <= self._pending[0].position:
            self._skip(self.limit)  # the gap of lost positions ends beyond the limit

    def _take(self) -> list[Record]:
        """The next group that may be processed, taken out of what was read: a cancelled life leaves the rest there."""
        allowed = takewhile(lambda record: record.position < self.limit, self._pending)
        group = next(groups(allowed), [])
        for _ in group:
            self._pending.popleft()
        return group

    def _skip(self, upto: int) -> None:
        """Positions up to `upto` can't be read: settled, and booked as lost where the head had seen them."""
        self.watermark.skip(upto)
        self.position = upto
        lost = self._observed.take(upto) if self._observed is not None else 0
        if lost:
            self._account.lose(lost, "damaged")

    async def _send(self) -> None:
        """One after the other: while the dead letter or a backend takes nothing, nothing more is read."""
        while self._refused or self._unsent:
            if self._refused:
                await self._bury(*self._refused[0])
                self._refused.popleft()
            elif self._sending:
                await self._outlet.room(self._unsent[0].size)
                self._outlet.emit(self._unsent.popleft())
            else:
                self._refused.append((self._unsent.popleft(), "shutdown"))

    def tick(self, now_ns: int) -> None:
        """About ten times a second: send what the processors release because time passed."""
        self._release(self._chain.tick(now_ns))

    def drain(self) -> None:
        """Take what the processors hold; `advance` sends it."""
        self._release(self._chain.drain())

    def _release(self, batches: Sequence[Batch]) -> None:
        if batches:
            self._unsent.extend(batches)
            self._moved.set()

    async def commit(self, *, last: bool = False) -> None:
        """Make the low-water mark durable, where it moved. A log that can't be written now is tried at the next call.

        Where processors remember things it is committed at positions alone whose state is durable; `last` says that
        there is no next call. Raises `OwnershipLostError`.
        """
        position = self.watermark.position
        if position <= self._committed:
            return
        try:
            if self._states is not None:
                position = await self._states.committable(self.position, position, last=last)
                if position <= self._committed:
                    return
            await self._partition.commit(position)
            if self._states is not None:
                self._states.committed(position)
        except OwnershipLostError:
            raise
        except StorageError as error:
            log.warning("partition %s: commit postponed: %s", self._partition.name, error)
        else:
            self._committed = position

    async def settle(self, patience_s: float) -> None:
        """Wait until everything sent is answered, `patience_s` at the most."""
        try:
            async with asyncio.timeout(patience_s):
                await self.watermark.quiet.wait()
        except TimeoutError:
            log.info("partition %s: %d records stay in the log", self._partition.name, self.watermark.outstanding)

    def _give_up(self, batch: Batch, reason: str) -> None:
        """A processor raised. It would raise on the same record for ever, so the record goes to the dead letter."""
        self._refused.append((batch, reason))
        self._moved.set()

    async def _bury(self, batch: Batch, reason: str) -> None:
        while True:
            try:
                await self._dead_letter.write(batch, self._account.pipeline, reason)
            except (OSError, StorageError) as error:
                log.warning("dead letter can't be written now: %s", type(error).__name__)
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                break
        self._account.dead_letter(len(batch), reason)
        batch.ack.resolve(Outcome.REJECTED, reason)
