"""The end of a pipeline: every batch goes to all of its exporters and connectors, and the ledger hears the end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from collector.ack import Ack, Outcome
from collector.errors import StorageError
from collector.telemetry.item_outcomes import ItemOutcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collector.batch import Batch
    from collector.component.connector import DurableConnector
    from collector.export_queue.dead_letter import DeadLetter
    from collector.telemetry.ledger import Account


log = logging.getLogger("butterfly.graph")

RETRY_PAUSE_S = 0.5


class Sink(Protocol):
    """What a batch can end in: an export queue, or the appending side of a connector."""

    def has_room(self, size: int) -> bool: ...

    def offer(self, batch: Batch) -> bool: ...

    async def room(self, size: int) -> None: ...


class LogSink:
    """The appending side of a durable connector. It answers RETRY by itself where it can't write.

    What it refuses for good goes to the dead letter of `pipeline` first: that is what REJECTED means. Where it took the
    other items of the batch, the letter has their number beside, as with a backend that doesn't say which.
    """

    def __init__(self, connector: DurableConnector, dead_letter: DeadLetter, pipeline: str) -> None:
        self._connector = connector
        self._dead_letter = dead_letter
        self._pipeline = pipeline
        self._burials: set[asyncio.Task[None]] = set()

    def has_room(self, size: int) -> bool:
        del size
        return True

    def offer(self, batch: Batch) -> bool:
        def answered(outcome: Outcome, reason: str, refused: int | None) -> None:
            if outcome is Outcome.REJECTED:
                task = asyncio.get_running_loop().create_task(self._bury(batch, reason, refused))
                self._burials.add(task)
                task.add_done_callback(self._burials.discard)
            else:
                batch.ack.resolve(outcome, reason)

        self._connector.append(batch.with_ack(Ack.counted(answered)))
        return True

    async def room(self, size: int) -> None:
        del size

    async def _bury(self, batch: Batch, reason: str, refused: int | None) -> None:
        try:
            await self._dead_letter.write(batch, self._pipeline, reason, refused)
        except (OSError, StorageError) as error:
            log.warning("dead letter can't be written now: %s", type(error).__name__)
            batch.ack.resolve(Outcome.RETRY, "dead_letter")
            return
        if batch.outcomes is not None:
            if refused is None:
                batch.outcomes.note(None, Outcome.REJECTED, reason)
            else:
                batch.outcomes.note_some(refused, Outcome.REJECTED, reason)
        batch.ack.resolve(Outcome.REJECTED, reason)


class Outlet:
    """Fan-out with the acknowledgement rule of DESIGN.md.

    Out of a log (`from_log`): a batch is answered when every sink has delivered or dead-lettered it. A sink that gives
    it back is offered it again, alone, until the pipeline stops; then the answer is RETRY and the log still has it.
    Until it is taken there is no room for more: memory would fill with what can't be delivered.

    From a receiver: a batch is answered when every durable connector has it on disk and every export queue has taken it
    over; the ledger waits for the real end. Without room it goes back to the sender.

    The ledger is told the end of each item (`ItemOutcomes`): it counts once, whichever exporters refused it.
    """

    def __init__(self, account: Account, sinks: Sequence[Sink], *, from_log: bool) -> None:
        self._account = account
        self._sinks = tuple(sinks)
        self._logs = sum(isinstance(sink, LogSink) for sink in sinks)
        self._from_log = from_log
        self._stopping = False
        self._given_back = 0

    async def room(self, size: int) -> None:
        """Wait until every sink has room for `size` more bytes, and none has given back what it doesn't take."""
        while self._given_back or not self._has_room(size):
            if self._given_back:
                await asyncio.sleep(RETRY_PAUSE_S)
            for sink in self._sinks:
                await sink.room(size)

    def emit(self, batch: Batch) -> None:
        """Take `batch` over."""
        if batch.ack.resolved:
            # Answering it twice would raise inside a sink, and harm the batches beside it.
            log.error("a processor returned a batch that was answered for before; it is not sent")
        elif not self._sinks:  # what was to be made of it has been made
            self._account.deliver(len(batch))
            batch.ack.resolve(Outcome.DELIVERED)
        elif self._from_log:
            self._emit_until_settled(batch)
        elif self._has_room(batch.size):
            self._emit_once(batch)
        else:
            self._account.give_back(len(batch), "queue_full")
            batch.ack.resolve(Outcome.RETRY, "queue_full")

    def stop(self) -> None:
        """From now on what a sink gives back stays with the log."""
        self._stopping = True

    def _emit_until_settled(self, batch: Batch) -> None:
        items, record = ItemOutcomes(len(batch)), batch.ack
        batch = batch.with_ack(record, items)

        def ended(outcome: Outcome, reason: str) -> None:
            self._account.settle_each(items, outcome, reason)
            record.resolve(outcome, reason, items.refused)

        for sink, share in zip(self._sinks, Ack(ended).fork(len(self._sinks)), strict=True):
            self._offer(sink, batch, share)

    def _offer(self, sink: Sink, batch: Batch, share: Ack, again: int = 0) -> None:
        def done(outcome: Outcome, reason: str) -> None:
            if outcome is Outcome.RETRY and not self._stopping:
                self._given_back += 1 - again
                asyncio.get_running_loop().call_later(RETRY_PAUSE_S, self._offer, sink, batch, share, 1)
            else:
                self._given_back -= again
                share.resolve(outcome, reason)

        ack = Ack(done)
        if self._stopping or not sink.offer(batch.with_ack(ack)):
            ack.resolve(Outcome.RETRY, "queue_full")

    def _emit_once(self, batch: Batch) -> None:
        items, account, sender = ItemOutcomes(len(batch)), self._account, batch.ack
        batch = batch.with_ack(sender, items)
        if len(self._sinks) == 1 and self._logs:
            # The usual case, a request on its way to the log: one ack tells both the ledger and the sender.
            def ended(outcome: Outcome, reason: str) -> None:
                account.settle_each(items, outcome, reason)
                sender.resolve(outcome, reason, items.refused)

            self._sinks[0].offer(batch.with_ack(Ack(ended)))
            return
        told = Outcome.DELIVERED

        def answered(outcome: Outcome, reason: str) -> None:
            nonlocal told
            told = outcome
            sender.resolve(outcome, reason, items.refused)

        def settled(outcome: Outcome, reason: str) -> None:
            account.settle_each(items, outcome, reason, owned=told is Outcome.RETRY)

        waits = iter(Ack(answered).fork(self._logs)) if self._logs else iter(())
        for sink, book in zip(self._sinks, Ack(settled).fork(len(self._sinks)), strict=True):
            ack = Ack.join([next(waits), book]) if isinstance(sink, LogSink) else book
            if not sink.offer(batch.with_ack(ack)):
                ack.resolve(Outcome.RETRY, "queue_full")
        if not self._logs:
            sender.resolve(Outcome.DELIVERED)

    def _has_room(self, size: int) -> bool:
        return all(sink.has_room(size) for sink in self._sinks)
