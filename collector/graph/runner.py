"""One partition being worked through: head, tail, time, commits."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from collector.component.processor import Lookahead, Stateful
from collector.errors import OwnershipLostError
from collector.graph.head import Head
from collector.graph.journal import SharedJournal
from collector.graph.observed import Observed
from collector.graph.states import States
from collector.graph.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from collector.component.connector import Partition
    from collector.component.processor import Processor
    from collector.component.trace_board import TraceBoard
    from collector.export_queue.dead_letter import DeadLetter
    from collector.graph.outlet import Outlet
    from collector.telemetry.ledger import Account

log = logging.getLogger("butterfly.graph")

COMMIT_EVERY_S = 1.0
SHED_SHARE = 4
"""Under pressure the oldest quarter of what waits is decided early, tick by tick."""


class PartitionRunner:
    """Runs `processors` over `partition`. With a `Lookahead` among them there is a head and a tail, else a tail alone.

    `books_accepted` is False where a receiver's half of the same pipeline has entered the items in the ledger. `final`
    says that the log does not outlive the process: at stop every open trace is decided on what is there. `board` is
    told the verdicts of a sampler among them.
    """

    def __init__(
        self,
        partition: Partition,
        processors: Sequence[Processor],
        outlet: Outlet,
        account: Account,
        dead_letter: DeadLetter,
        *,
        fatal: Callable[[str], None],
        board: TraceBoard | None = None,
        books_accepted: bool = True,
        final: bool = False,
    ) -> None:
        self.partition = partition
        self.account = account
        self._outlet = outlet
        self._fatal = fatal
        self.head: Head | None = None
        self._final = final
        self._tasks: list[asyncio.Task[None]] = []
        self._lost = False
        self._next_tick = 0.0
        self._oldest: tuple[int, float] = (partition.committed, monotonic())
        lookahead = next((each for each in processors if isinstance(each, Lookahead)), None)
        observed = Observed(partition.committed) if lookahead is not None and books_accepted else None
        self._observed = observed
        self.processors = tuple(processors)
        journal = SharedJournal(partition)
        stateful = [each for each in processors if isinstance(each, Stateful)]
        keep = lookahead.journal_entries if lookahead is not None else 0
        self._states: States | None = None
        if stateful and not final:  # nothing outlives a log that is
            self._states = States(partition.name, partition.committed, stateful, journal, keep=keep)
        self.tail = Tail(
            partition,
            processors,
            outlet,
            account,
            dead_letter,
            books_accepted=books_accepted and lookahead is None,
            observed=observed,
            processed=lookahead.settled if lookahead is not None else _nothing,
            states=self._states,
        )
        if lookahead is not None:
            before = list(processors)[: list(processors).index(lookahead)]
            self.head = Head(
                partition,
                before,
                lookahead,
                account,
                observed=observed,
                allow=self.tail.allow,
                journal=journal,
                board=board,
            )

    async def start(self) -> None:
        """Restore, then read on in the background."""
        if self._states is not None:
            await self._states.restore()
        if self.head is not None:
            await self.head.restore()
            self._spawn(self.head.run())
        else:
            self._spawn(self._follow())
        self._spawn(self.tail.run())
        self._spawn(self._commit_for_ever())

    async def tick(self) -> None:
        """About ten times a second; acts on it as often as the partition's pace asks for."""
        if self._lost or monotonic() < self._next_tick:
            return
        self._next_tick = monotonic() + self.partition.pace_s
        self.lag_seconds()  # so that it is measured from now, and not from the scrape before, which may be long ago
        if self.head is not None:
            if self.partition.under_pressure() or not self.head.processor.has_room():
                self._shed(self.head)
            try:
                await self.head.tick()
            except OwnershipLostError:
                self._discard()
                return
        self.tail.tick(self.partition.now_ns())

    async def stop(self, patience_s: float) -> None:
        """Stop reading, wait for what was sent to be answered, commit. What is undecided stays in the log."""
        deadline = monotonic() + patience_s
        await self._cancel()
        if self._final:
            await self._finish(patience_s)
        self.tail.drain()  # what a processor still holds is answered for, too
        self.tail.abandon()
        if self._observed is not None and (left := self._observed.take(self.partition.end)):
            self.account.give_back(left, "left_in_log")
        await self.tail.settle(max(0.0, deadline - monotonic()))
        self._outlet.stop()
        await self._commit(last=True)

    async def _finish(self, patience_s: float) -> None:
        """The log ends with the process: decide what is open on what is there, and send all of it."""
        if self.head is not None:
            while self.head.position < self.partition.end:
                await self.head.advance()
            self.head.processor.decide_all()
            await self.head.publish()
        if not await self._send_all(patience_s / 2):
            log.warning("partition %s: the rest goes to the dead letter, no backend has room", self.partition.name)
            self.tail.send_no_more()
            if not await self._send_all(patience_s / 2):
                log.error("partition %s: stopped before everything was sent or dead-lettered", self.partition.name)

    async def _send_all(self, patience_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.tail.advance()
                self.tail.drain()  # what the processors hold of all that went before
                await self.tail.advance()
                return True
        return False

    def lag_seconds(self) -> float:
        """How long the oldest unsettled record has been the oldest, and so at least waits; 0 when nothing waits."""
        settled, now = self.tail.watermark.position, monotonic()
        if settled >= self.partition.end or settled != self._oldest[0]:
            self._oldest = (settled, now)
        return now - self._oldest[1]

    def _shed(self, head: Head) -> None:
        # Only where the tail waits for decisions: when it waits for a backend, deciding early would free nothing.
        if self.tail.position >= self.tail.limit:
            waiting = head.position - self.tail.position
            head.processor.shed(self.tail.position + waiting // SHED_SHARE + 1)

    async def _follow(self) -> None:
        while True:
            await self.partition.wait(self.tail.limit)
            self.tail.allow(self.partition.end)

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit()

    async def _commit(self, *, last: bool = False) -> None:
        if self._lost:
            return
        try:
            await self.tail.commit(last=last)
        except OwnershipLostError:
            self._discard()

    def _discard(self) -> None:
        """Another member owns the partition now and goes on from the last commit: this life's state is void."""
        if not self._lost:
            self._lost = True
            log.warning("partition %s: ownership lost, its state is discarded", self.partition.name)
            for task in self._tasks:
                task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, OwnershipLostError):
            self._discard()
        else:
            log.critical("partition %s: reading stopped", self.partition.name, exc_info=error)
            self._fatal(f"partition {self.partition.name}: {type(error).__name__}")

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def _nothing(position: int) -> None:
    del position
