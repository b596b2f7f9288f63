"""`ExportQueue`: what stands between a pipeline and one exporter.

Everything happens on the event loop's thread. There is no task that waits: `_pump` starts attempts while
there are free consumers, and one timer calls it again when the next one may start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.errors import RejectedExportError, RetryableExportError
from collector.export_queue.instruments import Instruments, NotDeliveringLog
from collector.export_queue.job import SURELY_ITEMS, Job, Letter
from collector.export_queue.letters import Letters
from collector.export_queue.schedule import Schedule
from collector.export_queue.sending import Sending

if TYPE_CHECKING:
    from logging import Logger

    from collector.batch import Batch
    from collector.component.exporter import Exporter
    from collector.export_queue.dead_letter import DeadLetter
    from collector.telemetry.meter import Meter

LETTERS_WITHIN_S = 1.0
"""Part of the time to stop that is kept for writing the dead letter, at the most."""


class ExportQueue:
    """The sending queue of one exporter, which it starts and stops. Its rules:
    `docs/components/export_queue.md`.

    `durable` says that the source is a log that keeps what isn't answered for: on `stop` the rest is given
    back to it (RETRY). Otherwise `stop` goes on delivering until its deadline, and dead-letters the rest
    as `shutdown`.

    Every batch taken is resolved exactly once: DELIVERED, REJECTED (then it is in the dead letter) or RETRY.
    """

    def __init__(
        self, exporter: Exporter, dead_letter: DeadLetter, meter: Meter, *, durable: bool, log: Logger
    ) -> None:
        options = exporter.config
        self._exporter = exporter
        self._durable = durable
        self._sending = Sending(exporter)
        self._retry = options.retry_on_failure
        fifo = exporter.order == "fifo"
        self._consumers = 1 if fifo else options.sending_queue.num_consumers
        self._capacity = options.sending_queue.queue_size
        self._schedule = Schedule(options, fifo=fifo)
        self._gate = self._schedule.gate
        self._running: dict[asyncio.Task[None], Job] = {}
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._closed = False
        self._bytes = 0
        self._items = 0
        self._trouble = NotDeliveringLog(log)
        self._letters = Letters(dead_letter, exporter.id, self._trouble)
        self._count = Instruments(meter, exporter.id, self)

    # -- the pipeline's side

    @property
    def bytes(self) -> int:
        """Payload bytes that wait or are in flight."""
        return self._bytes

    @property
    def items(self) -> int:
        """Items that wait or are in flight."""
        return self._items

    @property
    def oldest(self) -> float:
        """Seconds since the oldest batch inside was taken; 0 when empty."""
        since = [job.since for job in self._running.values()]
        if (waiting := self._schedule.oldest) is not None:
            since.append(waiting)
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    @property
    def retry_wait(self) -> float:
        """Seconds until the next attempt of what failed before; 0 when nothing waits for that."""
        # Read by the scrape, perhaps on another thread; the event loop's time is this clock's.
        due = self._schedule.retry_at
        return 0.0 if due is None else max(0.0, due - time.monotonic())

    def healthy(self) -> str | None:
        """None while deliveries work, else why they don't, for a person."""
        if self._letters.unwritten:
            return f"{self._letters.unwritten}, what was refused is kept in the queue"
        if not self._trouble.reason:
            return None
        if self._gate.probing:
            return f"{self._trouble.reason}, an attempt is under way"
        return f"{self._trouble.reason}, next attempt in {self.retry_wait:.0f} s"

    def has_room(self, size: int) -> bool:
        """Whether a batch of `size` bytes would be taken now. An empty queue takes one of any size."""
        return not self._closed and (self._bytes == 0 or self._bytes + size <= self._capacity)

    async def room(self, size: int) -> None:
        """Wait until there is room for `size` bytes, or until the queue stops and takes nothing any more."""
        while not self._closed and not self.has_room(size):
            self._room.clear()
            await self._room.wait()

    def offer(self, batch: Batch) -> bool:
        """Take `batch` over, its ack included, and return True; False leaves it untouched.

        Of a batch with a selection only the selected items are kept in memory.
        """
        batch = batch.compact()
        if not self.has_room(batch.size):
            return False
        self._bytes += batch.size
        self._items += len(batch)
        self._schedule.add(batch, asyncio.get_running_loop().time())
        self._pump()
        return True

    async def start(self) -> None:
        """Start the exporter and begin to deliver. Raises what the exporter's start raises."""
        await self._exporter.start()
        self._started = True
        self._pump()

    async def stop(self, deadline_s: float) -> None:
        """Settle everything that is inside, within about `deadline_s` seconds, and stop the exporter."""
        loop = asyncio.get_running_loop()
        patience = deadline_s if self._durable else deadline_s - min(LETTERS_WITHIN_S, deadline_s / 4)
        self._closed = True
        self._room.set()
        if self._started:
            self._started = self._schedule.flushing = not self._durable
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(loop.time() + patience):
                    await self._until_idle()
            self._started = False
        if self._timer is not None:
            self._timer.cancel()
        await self._cut_short()
        for job in self._schedule.drain():
            await self._give_up(job)
        await self._exporter.stop()

    def _pump(self) -> None:
        """Start what may start now, and set the timer for what may start later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        if self._started:
            now = loop.time()
            while len(self._running) < self._consumers and (job := self._schedule.pick(now)) is not None:
                task = loop.create_task(self._run(job))
                self._running[task] = job
                task.add_done_callback(self._ran)
            if len(self._running) < self._consumers and (when := self._schedule.next_pick()) is not None:
                self._timer = loop.call_at(when, self._pump)
        if not self._running and (not self._started or self._schedule.empty):
            self._idle.set()

    # -- one attempt

    async def _run(self, job: Job) -> None:
        if job.letter is None:
            await self._attempt(job)
        if job.letter is not None:
            await self._bury(job, job.letter)

    def _ran(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        if task.cancelled():
            self._gate.abandoned()
            self._schedule.put_back(job)
        elif (error := task.exception()) is not None:
            self._gate.abandoned()
            self._trouble.unexpected(error)
            if not job.settled:
                self._repeat(job, "the export queue failed", None)
        self._pump()

    async def _attempt(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        job.attempts += 1
        job.first_attempt = job.first_attempt or began
        failure, wish, outcome = "", None, "retryable"
        try:
            letter = await self._sending.send(job)
        except RejectedExportError as error:
            self._answered(loop.time(), began, "rejected")
            self._refused(job, error)
            return
        except RetryableExportError as error:
            failure = error.reason
            wish = None if error.retry_after_ns is None else error.retry_after_ns / 1e9
        except TimeoutError:
            failure, outcome = "the backend does not answer in time", "timeout"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            failure = "the connection was given up"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, the batch is tried again
            known = isinstance(error, OSError) and error.strerror
            failure = str(known or "the exporter failed")
            self._trouble.unexpected(error)
        else:
            self._answered(loop.time(), began, "partial" if letter is not None else "delivered")
            self._accepted(job, letter)
            return
        now = loop.time()
        self._count.attempt(outcome, now - began)
        self._gate.failed(began, now, wish)
        self._failed(job, failure, wish, now)

    def _answered(self, now: float, began: float, outcome: str) -> None:
        self._count.attempt(outcome, now - began)
        recovered = self._gate.answered(now)
        self._trouble.over()
        if recovered:
            self._schedule.recovered(now)

    def _accepted(self, job: Job, letter: Letter | None) -> None:
        if letter is not None:
            job.letter = letter
        else:
            self._settle(job, Outcome.DELIVERED)
        twin, job.twin = job.twin, None
        if twin is None:
            return
        surely = twin.items <= SURELY_ITEMS and twin.items > 1 and twin.budget.splits
        if not surely or not self._schedule.divide(twin):  # this half was clean: the refused item is in the other one
            self._schedule.add_piece(twin)

    def _refused(self, job: Job, error: RejectedExportError) -> None:
        twin, job.twin = job.twin, None
        if twin is not None:
            self._schedule.add_piece(twin)
        may_be = error.divisible and job.items > 1 and job.budget.splits
        if not may_be or not self._schedule.divide(job):
            job.letter = Letter(Outcome.REJECTED, "rejected", error.reason)

    def _failed(self, job: Job, failure: str, wish: float | None, now: float) -> None:
        longest = self._retry.max_elapsed_time / 1e9
        if not self._retry.enabled:
            job.letter = Letter(Outcome.REJECTED, "retry_disabled", failure)
        elif longest and now - job.first_attempt >= longest:
            job.letter = Letter(Outcome.REJECTED, "max_elapsed_time", failure)
        else:
            self._repeat(job, failure, wish)
            return
        self._trouble.note(failure)
        if job.twin is not None:
            self._schedule.add_piece(job.twin)
            job.twin = None

    def _repeat(self, job: Job, failure: str, wish: float | None) -> None:
        self._trouble.note(failure)
        job.due = asyncio.get_running_loop().time() + self._schedule.backoff.wait(max(job.attempts, 1), wish)
        self._schedule.put_back(job)

    async def _bury(self, job: Job, letter: Letter) -> None:
        """Write the dead letter and settle the job; when it can't be written the job is kept for later."""
        if await self._letters.write(job, letter):
            self._buried(job, letter)
        else:
            letter.attempts += 1
            job.due = asyncio.get_running_loop().time() + self._schedule.backoff.wait(letter.attempts)
            self._schedule.add_piece(job)

    # -- the end of a job

    def _buried(self, job: Job, letter: Letter) -> None:
        """The letter is written: what was refused is settled with it, the rest was delivered."""
        part = letter if letter.outcome is Outcome.DELIVERED else None
        job.note(Outcome.REJECTED, letter.reason, part)
        self._settle(job, letter.outcome, letter.reason, letter.rejected or 0)

    def _settle(self, job: Job, outcome: Outcome, reason: str = "", rejected: int = 0) -> None:
        job.settled = True
        self._bytes -= job.bytes
        self._items -= job.items
        self._count.settled(job.items, outcome, rejected)
        self._room.set()
        job.resolve(outcome, "" if outcome is Outcome.DELIVERED else reason)

    async def _give_up(self, job: Job) -> None:
        """The queue stops: the log keeps the job, or the dead letter does."""
        letter = job.letter or Letter(Outcome.REJECTED, "shutdown", self._trouble.reason)
        if self._durable:
            job.note(Outcome.RETRY, "shutdown")
            self._settle(job, Outcome.RETRY, "shutdown")
        elif await self._letters.write(job, letter):
            self._buried(job, letter)
        else:
            part = letter if letter.outcome is Outcome.DELIVERED else None
            self._trouble.lost(job.items if part is None else part.rejected or 0)
            job.note(Outcome.RETRY, "shutdown", part)
            self._settle(job, Outcome.RETRY, "shutdown")

    async def _until_idle(self) -> None:
        self._idle.clear()
        self._pump()
        await self._idle.wait()

    async def _cut_short(self) -> None:
        """Cancel the attempts that are under way; what is being written to the dead letter is finished."""
        for task, job in self._running.items():
            if job.letter is None:
                task.cancel()
        while self._running:
            await asyncio.wait(self._running)
