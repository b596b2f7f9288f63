"""The newest records, kept in memory so that the head reads them without touching the disk."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from collector.component.connector import Chunk

if TYPE_CHECKING:
    from collector.component.connector import Record


class Recent:
    """A contiguous run of records up to the log's end, of at most `limit` payload bytes (or one record)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: deque[Record] = deque()
        self._by_position: dict[int, Record] = {}
        self.bytes = 0

    def first(self, end: int) -> int:
        """Position of the oldest record that is kept; `end`, the log's, when none is."""
        return self._records[0].position if self._records else end

    def add(self, record: Record) -> None:
        """Keep the record at the log's new end."""
        self._records.append(record)
        self._by_position[record.position] = record
        self.bytes += len(record.payload)

    def trim(self, committed: int) -> None:
        """Let go of what nobody will read, and of the oldest beyond the limit."""
        while self._records and (self._records[0].position < committed or self.bytes > self._limit):
            record = self._records.popleft()
            del self._by_position[record.position]
            self.bytes -= len(record.payload)

    def read(self, position: int, max_bytes: int) -> Chunk | None:
        """As `Partition.read`; None when `position` isn't here."""
        record = self._by_position.get(position)
        if record is None:
            return None
        records: list[Record] = []
        while record is not None and (not records or len(record.payload) <= max_bytes):
            records.append(record)
            max_bytes -= len(record.payload)
            record = self._by_position.get(record.position + 1)
        return Chunk(records, position + len(records))
