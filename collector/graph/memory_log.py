"""The log of a lookahead processor that no durable connector feeds: in memory, bounded, gone with the process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.component.connector import Chunk, Partition, Record
from collector.graph.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collector.batch import Batch
    from collector.telemetry.ledger import Account

PRESSURE = 0.85
"""Share of the budget from which traces are decided early."""


class MemoryLog(Partition):
    """A `Partition` over a deque, and the outlet of the pipeline's first half.

    A batch is answered DELIVERED when it is in: nothing safer exists in such a pipeline. The ledger goes on in the
    second half.
    """

    def __init__(self, name: str, limit: int, account: Account) -> None:
        self.name = name
        self.limit = limit
        self._account = account
        self.size = 0
        self._records: deque[Record] = deque()
        self._first = 0
        self._end = 0
        self._grown = asyncio.Event()

    @property
    def committed(self) -> int:
        return self._first

    @property
    def end(self) -> int:
        return self._end

    def now_ns(self) -> int:
        return now_ns()

    def emit(self, batch: Batch) -> None:
        """Take a batch from the receivers' half of the pipeline, or give it back when the budget is used up."""
        payload = batch.to_bytes()
        if self.size and self.size + len(payload) > self.limit:
            self._account.give_back(len(batch), "memory_full")
            batch.ack.resolve(Outcome.RETRY, "memory_full")
            return
        self._records.append(Record(self._end, now_ns(), payload, len(batch), batch.signal, batch.context))
        self._end += 1
        self.size += len(payload)
        self._grown.set()
        batch.ack.resolve(Outcome.DELIVERED)

    async def wait(self, position: int) -> None:
        while self._end <= position:
            self._grown.clear()
            await self._grown.wait()

    async def read(self, position: int, max_bytes: int) -> Chunk:
        records: list[Record] = []
        size = 0
        for number in range(position, self._end):
            record = self._records[number - self._first]
            if records and size + len(record.payload) > max_bytes:
                break
            records.append(record)
            size += len(record.payload)
        return Chunk(records, position + len(records))

    async def commit(self, position: int) -> None:
        while self._records and self._records[0].position < position:
            self.size -= len(self._records.popleft().payload)
        self._first = position

    async def journal(self, blob: bytes, count: int, head: int, keep: int) -> None:
        """Nothing to keep: the verdicts live as long as the records."""

    async def load_journal(self) -> Sequence[bytes]:
        return ()

    def under_pressure(self) -> bool:
        return self.size > self.limit * PRESSURE
