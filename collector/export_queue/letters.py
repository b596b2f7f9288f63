"""The way of refused jobs into the dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections import deque

    from collector.component.exporter import Refusal
    from collector.export_queue.dead_letter import DeadLetter
    from collector.export_queue.instruments import NotDeliveringLog
    from collector.export_queue.job import Job, Letter


class Letters:
    """Writes for one exporter. `unwritten` says for a person why the last letter couldn't be written, or is empty."""

    def __init__(self, dead_letter: DeadLetter, exporter: str, trouble: NotDeliveringLog) -> None:
        self._dead_letter = dead_letter
        self._exporter = exporter
        self._trouble = trouble
        self.unwritten = ""

    async def write(self, job: Job, letter: Letter) -> bool:
        """Write what was refused of `job`; False where that fails now. Of several refusals those that are written are
        forgotten, so that the next try goes on behind them."""
        try:
            if letter.refusals is None:
                await self._write_all(job, letter)
            else:
                await self._write_refusals(job, letter.refusals)
        except Exception as error:  # noqa: BLE001 - a full or broken disk in any disguise: the batch is kept
            self.unwritten = str(error) if isinstance(error, StorageError) else "the dead letter can't be written"
            self._trouble.note(self.unwritten)
            return False
        self.unwritten = ""
        return True

    async def _write_all(self, job: Job, letter: Letter) -> None:
        request = job.request()
        try:
            await self._dead_letter.write(request, self._exporter, letter.sentence, letter.rejected)
        finally:
            request.ack.resolve(Outcome.DELIVERED)
        self._trouble.buried(letter.rejected or job.items, letter.sentence)

    async def _write_refusals(self, job: Job, refusals: deque[Refusal]) -> None:
        request = job.whole()
        request.ack.resolve(Outcome.DELIVERED)
        while refusals:
            refused = Batch(request.payload, Ack.ignore(), signal=request.signal, context=request.context)
            refused = refused.select(refusals[0].rows)
            await self._dead_letter.write(refused, self._exporter, refusals[0].sentence)
            self._trouble.buried(len(refused), refusals.popleft().sentence)
