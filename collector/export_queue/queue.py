"""`ExportQueue`: what stands between a pipeline and one exporter.

Everything happens on the event loop's thread. There is no task that waits: `_pump` starts attempts while
there are free consumers, and one timer calls it again when the next one may start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.errors import RejectedExportError, RetryableExportError, StorageError
from collector.export_queue.batching import Batcher
from collector.export_queue.gate import Backoff, Gate
from collector.export_queue.instruments import Instruments, NotDeliveringLog
from collector.export_queue.job import SURELY_ITEMS, Job, Letter

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
        self._dead_letter = dead_letter
        self._durable = durable
        self._timeout = options.timeout / 1e9
        self._retry = options.retry_on_failure
        self._fifo = exporter.order == "fifo"
        self._consumers = 1 if self._fifo else options.sending_queue.num_consumers
        self._capacity = options.sending_queue.queue_size
        self._batching = options.sending_queue.batch
        self._batcher = Batcher(self._batching)
        self._backoff = Backoff(self._retry)
        self._gate = Gate(self._backoff)
        self._again: deque[Job] = deque()
        self._running: dict[asyncio.Task[None], Job] = {}
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._closed = False
        self._flushing = False
        self._bytes = 0
        self._items = 0
        self._trouble = NotDeliveringLog(log)
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
        since = [job.since for job in [*self._again, *self._running.values()]]
        waiting = self._batcher.oldest()
        if waiting is not None:
            since.append(waiting)
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    @property
    def retry_wait(self) -> float:
        """Seconds until the next attempt of what failed before; 0 when nothing waits for that."""
        if not self._again and not self._gate.failing:
            return 0.0
        # Read by the scrape, perhaps on another thread: a copy, and the clock that the event loop's time
        # is made of.
        due = self._gate.until if self._gate.failing else min((job.due for job in list(self._again)), default=0.0)
        return max(0.0, due - time.monotonic())

    def healthy(self) -> str | None:
        """None while deliveries work, else why they don't, for a person."""
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
        if batch.mask is not None:
            batch = batch.replace(batch.to_bytes(), count=len(batch))
        if not self.has_room(batch.size):
            return False
        self._bytes += batch.size
        self._items += len(batch)
        self._batcher.add(batch, asyncio.get_running_loop().time())
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
            self._flushing = not self._durable
            self._started = self._flushing
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(loop.time() + patience):
                    await self._until_idle()
            self._started = False
        if self._timer is not None:
            self._timer.cancel()
        await self._cut_short()
        rest = [*self._again, *self._batcher.drain()]
        self._again.clear()
        for job in rest:
            for each in list(job.chain()):
                each.twin = None
                await self._give_up(each)
        await self._exporter.stop()

    # -- which attempt comes next

    def _pump(self) -> None:
        """Start what may start now, and set the timer for what may start later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        if self._started:
            now = loop.time()
            while len(self._running) < self._consumers and (job := self._pick(now)) is not None:
                task = loop.create_task(self._run(job))
                self._running[task] = job
                task.add_done_callback(self._ran)
            if len(self._running) < self._consumers and (when := self._next()) is not None:
                self._timer = loop.call_at(when, self._pump)
        if not self._running and (not self._started or self._empty()):
            self._idle.set()

    def _empty(self) -> bool:
        return not self._again and self._batcher.next_due() is None

    def _pick(self, now: float) -> Job | None:
        """The job whose turn it is; its attempt is counted as begun."""
        for job in self._again:
            if job.letter is not None and job.due <= now:
                self._again.remove(job)
                return job
        if not self._gate.open(now):
            return None
        chosen = next((job for job in self._again if self._may_repeat(job, now)), None)
        if chosen is not None:
            self._again.remove(chosen)
        elif not (self._fifo and self._again):
            chosen = self._batcher.take(now, flush=self._flushing)
        if chosen is not None:
            self._divide_if_huge(chosen)
            self._gate.begin()
        return chosen

    def _may_repeat(self, job: Job, now: float) -> bool:
        return job.letter is None and (self._gate.failing or job.due <= now)

    def _next(self) -> float | None:
        """When `_pick` may have something; None when only the end of an attempt or a new batch can change
        its mind.
        """
        times = [job.due for job in self._again if job.letter is not None]
        if not self._gate.probing:
            retries = [self._gate.until if self._gate.failing else job.due for job in self._again if not job.letter]
            due = self._batcher.next_due()
            if due is not None and not (self._fifo and self._again):
                retries.append(self._gate.until if self._flushing else due)
            times.extend(max(self._gate.until, when) for when in retries)
        return min(times, default=None)

    def _divide_if_huge(self, job: Job) -> None:
        """A batch larger than twice the limits would surely be refused: send it in pieces from the start."""
        most_items, most_bytes = 2 * self._batching.max_size, 2 * self._batching.max_bytes
        pieces = deque([job])
        while pieces[0].items > 1 and (pieces[0].items > most_items or pieces[0].bytes > most_bytes):
            pieces.extendleft(reversed(pieces.popleft().halve()))
        if len(pieces) > 1:
            first = pieces.popleft()
            job.parts, job.items, job.bytes = first.parts, first.items, first.bytes
            self._again.extendleft(reversed(pieces))

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
            self._again.appendleft(job)
        elif task.exception() is not None:
            self._gate.abandoned()
            self._repeat(job, "the export queue failed", None)
        self._pump()

    async def _attempt(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        job.attempts += 1
        job.first_attempt = job.first_attempt or began
        request = job.request()
        failure, wish, outcome = "", None, "retryable"
        try:
            async with asyncio.timeout(self._timeout):
                rejected = await self._exporter.export(request)
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
            failure = error.strerror if isinstance(error, OSError) and error.strerror else "the exporter failed"
            self._trouble.unexpected(error)
        else:
            self._answered(loop.time(), began, "partial" if rejected else "delivered")
            self._accepted(job, min(max(rejected, 0), job.items))
            return
        finally:
            request.ack.resolve(Outcome.DELIVERED)
        now = loop.time()
        self._count.attempt(outcome, now - began)
        self._gate.failed(began, now, wish)
        self._failed(job, failure, wish, now)

    def _answered(self, now: float, began: float, outcome: str) -> None:
        self._count.attempt(outcome, now - began)
        recovered = self._gate.answered(now)
        self._trouble.over()
        if recovered:
            for job in self._again:
                if job.letter is None:
                    job.due = now

    def _accepted(self, job: Job, rejected: int) -> None:
        if rejected:
            job.letter = Letter(Outcome.DELIVERED, "partial_success", rejected=rejected)
        else:
            self._settle(job, Outcome.DELIVERED)
        twin, job.twin = job.twin, None
        if twin is None:
            return
        if twin.items <= SURELY_ITEMS and twin.items > 1 and twin.budget.splits:
            self._divide(twin)  # this half was clean, so the refused item is in the other one
        else:
            self._add_piece(twin)

    def _refused(self, job: Job, error: RejectedExportError) -> None:
        twin, job.twin = job.twin, None
        if twin is not None:
            self._add_piece(twin)
        if error.divisible and job.items > 1 and job.budget.splits:
            self._divide(job)
        else:
            job.letter = Letter(Outcome.REJECTED, "rejected", error.reason)

    def _divide(self, job: Job) -> None:
        job.budget.splits -= 1
        first, second = job.halve()
        first.twin = second
        self._add_piece(first)

    def _add_piece(self, job: Job) -> None:
        """Breadth first, so that the divisions are spent evenly; depth first where the order must hold."""
        if self._fifo:
            self._again.appendleft(job)
        else:
            self._again.append(job)

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
            self._add_piece(job.twin)
            job.twin = None

    def _repeat(self, job: Job, failure: str, wish: float | None) -> None:
        self._trouble.note(failure)
        job.due = asyncio.get_running_loop().time() + self._backoff.wait(max(job.attempts, 1), wish)
        self._again.appendleft(job)

    async def _bury(self, job: Job, letter: Letter) -> None:
        """Write the dead letter and settle the job; when it can't be written the job is kept for later."""
        if await self._write(job, letter):
            self._settle(job, letter.outcome, letter.reason, letter.rejected)
        else:
            letter.attempts += 1
            job.due = asyncio.get_running_loop().time() + self._backoff.wait(letter.attempts)
            self._again.append(job)

    async def _write(self, job: Job, letter: Letter) -> bool:
        reason = f"{letter.reason}: {letter.detail}" if letter.detail else letter.reason
        request = job.request()
        try:
            await self._dead_letter.write(request, self._exporter.id, reason, letter.rejected)
        except Exception as error:  # noqa: BLE001 - a full or broken disk in any disguise: the batch is kept
            self._trouble.note(str(error) if isinstance(error, StorageError) else "the dead letter can't be written")
            return False
        finally:
            request.ack.resolve(Outcome.DELIVERED)
        return True

    # -- the end of a job

    def _settle(self, job: Job, outcome: Outcome, reason: str = "", rejected: int | None = None) -> None:
        self._bytes -= job.bytes
        self._items -= job.items
        self._count.settled(job.items, outcome, rejected or 0)
        self._room.set()
        job.resolve(outcome, "" if outcome is Outcome.DELIVERED else reason)

    async def _give_up(self, job: Job) -> None:
        """The queue stops: the log keeps the job, or the dead letter does."""
        letter = job.letter or Letter(Outcome.REJECTED, "shutdown", self._trouble.reason)
        if self._durable:
            self._settle(job, Outcome.RETRY, "shutdown")
        elif await self._write(job, letter):
            self._settle(job, letter.outcome, letter.reason, letter.rejected)
        else:
            self._trouble.lost(job.items)
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
