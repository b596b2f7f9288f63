"""What an export queue holds, and whose turn it is."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from collector.export_queue.batching import Batcher
from collector.export_queue.gate import Backoff, Gate
from collector.wire import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collector.batch import Batch
    from collector.component.exporter import ExporterOptions
    from collector.export_queue.job import Job


class Schedule:
    """Batches that wait for others, jobs that wait for another attempt, and the gate in front of the backend.

    While the backend fails, the oldest failed job is the one that probes it. With `fifo` nothing passes a
    job that waits for another attempt. Times are the event loop's, in seconds.
    """

    def __init__(self, options: ExporterOptions, *, fifo: bool) -> None:
        batching = options.sending_queue.batch
        self._most_items, self._most_bytes = 2 * batching.max_size, 2 * batching.max_bytes
        self._fifo = fifo
        self._batcher = Batcher(batching)
        self._again: deque[Job] = deque()
        self.backoff = Backoff(options.retry_on_failure)
        self.gate = Gate(self.backoff)
        self.flushing = False
        """Whether batches leave without waiting for others."""

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not self._again and self._batcher.next_due() is None

    @property
    def oldest(self) -> float | None:
        """When the oldest batch that is held was taken."""
        since = [job.since for job in self._again]
        waiting = self._batcher.oldest()
        return min(since if waiting is None else [*since, waiting], default=None)

    @property
    def retry_at(self) -> float | None:
        """When the next attempt after a failure is due; None when nothing failed. Readable on any thread."""
        return self.gate.until if self.gate.failing else min((job.due for job in list(self._again)), default=None)

    def add(self, batch: Batch, now: float) -> None:
        """Let a new batch wait for others."""
        self._batcher.add(batch, now)

    def put_back(self, job: Job) -> None:
        """Let a job wait for another attempt, at its `due` time, before those that already wait."""
        self._again.appendleft(job)

    def add_piece(self, job: Job) -> None:
        """Let a part of a refused job wait for its attempt.

        Breadth first, so that the divisions are spent evenly; depth first where the order must hold.
        """
        if self._fifo:
            self._again.appendleft(job)
        else:
            self._again.append(job)

    def divide(self, job: Job) -> bool:
        """Let the halves of a refused job wait for their attempts, the second for the outcome of the
        first. False, and nothing done, where what it holds can't be told apart.
        """
        try:
            first, second = job.halve()
        except Malformed:
            return False
        job.budget.splits -= 1
        first.twin = second
        self.add_piece(first)
        return True

    def recovered(self, now: float) -> None:
        """The backend answers again: what failed while it was away need not wait any longer."""
        for job in self._again:
            if job.letter is None:
                job.due = now

    def pick(self, now: float) -> Job | None:
        """The job whose turn it is. What goes to the backend is counted as begun at the gate."""
        for job in self._again:
            if job.letter is not None and job.due <= now:
                self._again.remove(job)
                return job
        if not self.gate.open(now):
            return None
        chosen = next((job for job in self._again if self._may_repeat(job, now)), None)
        if chosen is not None:
            self._again.remove(chosen)
        elif not (self._fifo and self._again):
            chosen = self._batcher.take(now, flush=self.flushing)
        if chosen is not None:
            chosen = self._first_piece(chosen)
            self.gate.begin()
        return chosen

    def next_pick(self) -> float | None:
        """When `pick` may have something; None when that takes the end of an attempt or a new batch."""
        times = [job.due for job in self._again if job.letter is not None]
        if not self.gate.probing:
            until = self.gate.until
            times += [until if self.gate.failing else max(until, job.due) for job in self._again if job.letter is None]
            due = self._batcher.next_due()
            if due is not None and not (self._fifo and self._again):
                times.append(until if self.flushing else max(until, due))
        return min(times, default=None)

    def drain(self) -> Iterator[Job]:
        """Take everything out, halves that wait for others included."""
        held = [*self._again, *self._batcher.drain()]
        self._again.clear()
        for job in held:
            for each in list(job.chain()):
                each.twin = None
                yield each

    def _may_repeat(self, job: Job, now: float) -> bool:
        return job.letter is None and (self.gate.failing or job.due <= now)

    def _first_piece(self, job: Job) -> Job:
        """A job larger than twice the limits would surely be refused: it is sent in pieces from the start."""
        pieces = [job]
        while pieces[-1].items > 1 and (pieces[-1].items > self._most_items or pieces[-1].bytes > self._most_bytes):
            try:
                first, second = pieces[-1].halve()
            except Malformed:
                break
            pieces[-1:] = [second, first]
        first = pieces.pop()
        self._again.extendleft(pieces)
        return first
