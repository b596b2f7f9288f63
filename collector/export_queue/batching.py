"""Batches wait here for others of their kind, and leave as jobs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from collector.export_queue.job import Job

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from collector.batch import Batch
    from collector.component.exporter import BatchOptions


@dataclass(slots=True)
class _Group:
    """Batches that may be merged, oldest first, each with the time when it was taken."""

    waiting: deque[tuple[float, Batch]] = field(default_factory=deque)
    items: int = 0
    bytes: int = 0


class Batcher:
    """Collects batches by signal, context and account. Times are the event loop's, in seconds.

    A group is due when it holds `min_size` items or `max_bytes` bytes, or when its oldest batch has waited
    for `flush_timeout`. A job takes the oldest batches of a group as long as they fit `max_size` and
    `max_bytes`, but at least one: a batch that is larger by itself leaves alone and whole.
    """

    def __init__(self, options: BatchOptions) -> None:
        self._flush_after = options.flush_timeout / 1e9
        self._min_items = options.min_size
        self._max_items = max(options.max_size, options.min_size)
        self._max_bytes = options.max_bytes
        self._groups: dict[Hashable, _Group] = {}

    def add(self, batch: Batch, now: float) -> None:
        """Let `batch` wait."""
        group = self._groups.setdefault((batch.signal, batch.context, batch.account), _Group())
        group.waiting.append((now, batch))
        group.items += len(batch)
        group.bytes += batch.size

    def next_due(self) -> float | None:
        """When the next job can be taken; None when nothing waits."""
        return min((self._due(group) for group in self._groups.values()), default=None)

    def take(self, now: float, *, flush: bool) -> Job | None:
        """The job that has been due for longest, or with `flush` the oldest; None when there is none."""
        if not self._groups:
            return None
        key, group = min(self._groups.items(), key=lambda entry: self._due(entry[1]))
        if not flush and self._due(group) > now:
            return None
        since = group.waiting[0][0]
        parts: list[Batch] = []
        items = size = 0
        while group.waiting:
            batch = group.waiting[0][1]
            if parts and (items + len(batch) > self._max_items or size + batch.size > self._max_bytes):
                break
            group.waiting.popleft()
            parts.append(batch)
            items += len(batch)
            size += batch.size
        group.items -= items
        group.bytes -= size
        if not group.waiting:
            del self._groups[key]
        return Job(parts, items, size, since)

    def oldest(self) -> float | None:
        """When the oldest waiting batch was taken."""
        return min((group.waiting[0][0] for group in self._groups.values()), default=None)

    def drain(self) -> Iterator[Job]:
        """Everything that waits, as jobs."""
        while (job := self.take(0.0, flush=True)) is not None:
            yield job

    def _due(self, group: _Group) -> float:
        taken = group.waiting[0][0]
        full = group.items >= self._min_items or group.bytes >= self._max_bytes
        # A full group is due since it was filled; among several, the one with the oldest batch goes first.
        return taken if full else taken + self._flush_after
