"""One request to a backend: the batches that travel in it, how it is divided, and what it became."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.wire import Malformed

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from collector.component.exporter import Refusal

SPLITS = 32
"""How often one request may be divided in search of what the backend refuses: at most 64 extra requests."""

SURELY_ITEMS = 128
"""A piece of so few items is refused for an item and not for its size: if one half is fine, the other
isn't.
"""


@dataclass(slots=True)
class Budget:
    """Divisions left, shared by all pieces of what was one request."""

    splits: int = SPLITS


@dataclass(slots=True)
class Letter:
    """The job's way into the dead letter: how its acks end once it is written."""

    outcome: Outcome
    reason: str
    """One of a closed set, see the component's page; the acks and the metrics carry it."""
    detail: str = ""
    rejected: int | None = None
    refusals: deque[Refusal] | None = None
    """Where the exporter knows which items were refused: those that aren't written yet."""
    rows: NDArray[np.bool_] | None = None
    """The same as long as the job: whether each item was refused, written or not."""
    attempts: int = 0

    @property
    def sentence(self) -> str:
        """What the dead letter says."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(slots=True, eq=False)
class Job:
    """Batches that make one request. `bytes` is its share of the queue's room; times are the event loop's."""

    parts: list[Batch]
    items: int
    bytes: int
    since: float
    budget: Budget = field(default_factory=Budget)
    attempts: int = 0
    first_attempt: float = 0.0
    due: float = 0.0
    letter: Letter | None = None
    settled: bool = False
    staged: Any = None
    """What a `StagedExporter` made of the request, from its first attempt on."""
    twin: Job | None = None
    """The other half of a refused request: it waits for the outcome of this one."""

    def request(self) -> Batch:
        """All parts as one batch, with an ack of its own that the caller resolves; the parts keep theirs."""
        return Batch.merge([part.with_ack(Ack.ignore()) for part in self.parts])

    def whole(self) -> Batch:
        """`request` without a selection, so that every row of its index is in it."""
        request = self.request()
        if request.mask is None:
            return request
        return Batch(request.to_bytes(), request.ack, signal=request.signal, context=request.context)

    def resolve(self, outcome: Outcome, reason: str = "") -> None:
        """End the acks of all parts."""
        for part in self.parts:
            part.ack.resolve(outcome, reason)

    def note(self, outcome: Outcome, reason: str, refused: Letter | None = None) -> None:
        """Tell the books that all items ended so, or those alone that the backend `refused` of a request it took."""
        begin, left = 0, 0 if refused is None else refused.rejected or 0
        for part in self.parts:
            end, outcomes = begin + len(part), part.outcomes
            if outcomes is not None and refused is None:
                outcomes.note(part.mask, outcome, reason)
            elif outcomes is not None and refused is not None and refused.rows is not None:
                outcomes.note(_placed(part, refused.rows[begin:end]), outcome, reason)
            elif outcomes is not None:
                some = min(left, len(part))  # of several batches in one request nobody knows whose items they were
                left -= some
                outcomes.note_some(some, outcome, reason)
            begin = end

    def halve(self) -> tuple[Job, Job]:
        """Two jobs of half the items each, in order, the smaller first. There must be at least two items.

        The ack of a part that lies across the middle is forked, so that in the end only batches with a
        refused item end as REJECTED. One that is no OTLP stays whole; raises `Malformed` where it is all there is.
        """
        half = self.items // 2
        first: list[Batch] = []
        second: list[Batch] = []
        seen = 0
        for part in self.parts:
            end = seen + len(part)
            if end <= half:
                first.append(part)
            elif seen >= half:
                second.append(part)
            else:
                try:
                    head, tail = part.split(_leading_rows(part, half - seen))
                except Malformed:
                    if len(self.parts) == 1:
                        raise
                    (second if first else first).append(part)
                else:
                    first.append(head)
                    second.append(tail)
            seen = end
        half = sum(map(len, first))
        return self._piece(first, half, self.bytes // 2), self._piece(
            second, self.items - half, self.bytes - self.bytes // 2
        )

    def chain(self) -> Iterator[Job]:
        """This job and every half that waits for it."""
        job: Job | None = self
        while job is not None:
            yield job
            job = job.twin

    def _piece(self, parts: list[Batch], items: int, size: int) -> Job:
        return Job(parts, items, size, self.since, self.budget, 0, self.first_attempt)


def _placed(batch: Batch, of_selected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What holds of each selected item, as a mask over all rows of `batch`."""
    if batch.mask is None:
        return of_selected
    mask = np.zeros(len(batch.mask), np.bool_)
    mask[batch.mask] = of_selected
    return mask


def _leading_rows(batch: Batch, n: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A mask of the first `n` selected rows of `batch`."""
    mask = np.zeros(batch.index.count, np.bool_)
    rows = np.arange(batch.index.count) if batch.mask is None else np.flatnonzero(batch.mask)
    mask[rows[:n]] = True
    return mask
