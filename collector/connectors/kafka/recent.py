"""Recent payloads kept for the tail: one byte budget over all partitions of the process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from collector.component.connector import Chunk

if TYPE_CHECKING:
    from collector.component.connector import Record


class PayloadBudget:
    """At most `limit` payload bytes in all of its `RecentPayloads`; the largest one gives way first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.holders: list[RecentPayloads] = []

    def grow(self, size: int) -> None:
        """`size` bytes were added somewhere."""
        self.bytes += size
        while self.bytes > self.limit and self.holders:
            max(self.holders, key=lambda holder: holder.bytes).drop_oldest()


class RecentPayloads:
    """The newest records of one partition that were read, oldest first.

    A record is found by the position from which a reader gets to it: offsets may have gaps (transactions' markers,
    records that were quarantined), positions of readers have none.
    """

    def __init__(self, budget: PayloadBudget) -> None:
        self.bytes = 0
        self._budget = budget
        self._order: deque[tuple[int, Record]] = deque()
        self._from: dict[int, Record] = {}
        budget.holders.append(self)

    def first(self, otherwise: int) -> int:
        """The position from which the oldest record is read, or `otherwise`."""
        return self._order[0][0] if self._order else otherwise

    def add(self, start: int, record: Record) -> None:
        """Keep `record`, which a reader at `start` finds next."""
        self._order.append((start, record))
        self._from[start] = record
        self.bytes += len(record.payload)
        self._budget.grow(len(record.payload))

    def read(self, position: int, max_bytes: int) -> Chunk | None:
        """As `Partition.read`; None when what stands at `position` isn't here."""
        record = self._from.get(position)
        records: list[Record] = []
        while record is not None and (not records or len(record.payload) <= max_bytes):
            records.append(record)
            max_bytes -= len(record.payload)
            position = record.position + 1
            record = self._from.get(position)
        return Chunk(records, position) if records else None

    def trim(self, committed: int) -> None:
        """Let go of what is settled."""
        while self._order and self._order[0][1].position < committed:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Give one record's room back."""
        start, record = self._order.popleft()
        del self._from[start]
        self.bytes -= len(record.payload)
        self._budget.bytes -= len(record.payload)

    def close(self) -> None:
        """Give all room back; the partition is no longer this process's."""
        while self._order:
            self.drop_oldest()
        self._budget.holders.remove(self)
