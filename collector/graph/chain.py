"""A run of processors: feeds each what the one before returned, and answers for what ends inside."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from collector.ack import Outcome
from collector.component.processor import Lookahead
from collector.wire import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from collector.batch import Batch
    from collector.component.processor import Processor
    from collector.telemetry.ledger import Account

    OnFailure = Callable[[Batch, str], None]

log = logging.getLogger("butterfly.graph")

MAX_HALVINGS = 64
"""Enough to isolate several items of a large batch; a processor that raises on everything costs no more."""


class Chain:
    """Processors in order. `failed(batch, reason)` gets, and must answer for, each batch whose processor raised.

    With `isolate`, a batch on which a pure processor raised is halved until the items that it raises on stand alone.
    """

    def __init__(self, processors: Sequence[Processor], failed: OnFailure, *, isolate: bool = False) -> None:
        self.processors = tuple(processors)
        self._failed = failed
        self._isolate = isolate

    def push(self, batch: Batch, start: int = 0) -> list[Batch]:
        """What comes out at the end for one batch going in before processor number `start`."""
        batches = [batch]
        for processor in self.processors[start:]:
            batches = self._step(processor, batches)
        return batches

    def tick(self, now_ns: int) -> list[Batch]:
        """What comes out because time passed. A lookahead processor's time is the head's to tell."""
        return self._each(lambda each: () if isinstance(each, Lookahead) else each.tick(now_ns))

    def drain(self) -> list[Batch]:
        """What comes out because the pipeline stops."""
        return self._each(lambda processor: processor.drain())

    def _each(self, ask: Callable[[Processor], Iterable[Batch]]) -> list[Batch]:
        out: list[Batch] = []
        for number, processor in enumerate(self.processors):
            try:
                released = list(ask(processor))
            except Exception as error:  # noqa: BLE001 - as in `_step`
                log.error("processor %s failed on its own time with %s", processor.id, type(error).__name__)  # noqa: TRY400 - a traceback may quote telemetry
                continue
            for batch in _settle_empty(released):
                out.extend(self.push(batch, number + 1))
        return out

    def _step(self, processor: Processor, batches: list[Batch]) -> list[Batch]:
        out: list[Batch] = []
        halvings = MAX_HALVINGS
        waiting = batches[::-1]
        while waiting:
            batch = waiting.pop()
            books = batch.account.mark() if batch.account is not None else None
            try:
                out.extend(list(processor.process(batch)))  # all or nothing: a generator may raise after it gave some
            except Exception as error:  # noqa: BLE001 - whatever a custom processor raises must not stop the pipeline
                if batch.account is not None and books is not None:
                    batch.account.rewind(books)
                ack = batch.ack.reclaim()
                if ack is None:
                    log.error("processor %s failed with a batch that it had answered", processor.id)  # noqa: TRY400 - same
                    continue
                batch = batch.with_ack(ack)
                halves = _halves(batch) if self._isolate and processor.pure and len(batch) > 1 and halvings else ()
                if halves:
                    halvings -= 1
                    waiting.extend(halves)
                else:
                    log.error("processor %s failed with %s", processor.id, type(error).__name__)  # noqa: TRY400 - a traceback may quote telemetry
                    self._failed(batch, f"{processor.id}_failed")
        return _settle_empty(out)


def _halves(batch: Batch) -> tuple[Batch, ...]:
    """Nothing where the batch can't be divided: its payload is none that can be read."""
    try:
        rows = np.flatnonzero(batch.mask) if batch.mask is not None else np.arange(batch.index.count)
    except Malformed:
        return ()
    first = np.zeros(batch.index.count, np.bool_)
    first[rows[: len(rows) // 2]] = True
    return batch.split(first)


def _settle_empty(batches: list[Batch]) -> list[Batch]:
    """Acknowledge the batches that were emptied; give back the others. `select` has booked what it removed."""
    full: list[Batch] = []
    for batch in batches:
        if len(batch):
            full.append(batch)
        else:
            batch.ack.resolve(Outcome.FILTERED)
    return full


def give_back(account: Account) -> OnFailure:
    """For pipelines fed by receivers: the sender keeps what a processor failed on."""

    def failed(batch: Batch, reason: str) -> None:
        account.give_back(len(batch), reason)
        batch.ack.resolve(Outcome.RETRY, reason)

    return failed
