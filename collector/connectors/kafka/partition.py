"""One partition of a data topic, as the graph sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from collector.component.connector import Chunk, Partition, Record
from collector.connectors.kafka.reader import OutOfRangeError, UnreadableBatchError
from collector.connectors.kafka.recent import RecentPayloads
from collector.connectors.kafka.records import UnreadableError, admit
from collector.errors import OwnershipLostError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import ConsumerRecord
    from aiokafka.structs import TopicPartition

    from collector.batch import Signal
    from collector.connectors.kafka.journal import DecisionJournal
    from collector.connectors.kafka.reader import LogReader
    from collector.connectors.kafka.recent import PayloadBudget
    from collector.connectors.kafka.stream_time import StreamTime

PATIENCE_S = 5.0
UNREAD_BYTES = 2 << 20
"""Fetched and not yet read by the head, beyond which no more is taken from the consumer."""
RECORD_BYTES = 512
"""What a record without a payload takes: a hostile batch of a few kilobytes may hold a million of them."""


class Membership(Protocol):
    """What a partition needs of the consumer group."""

    async def commit(self, tp: TopicPartition, position: int) -> None:
        """Raises `OwnershipLostError`, `StorageError`."""

    async def quarantine(self, record: ConsumerRecord[bytes, bytes], reason: str) -> None:
        """Put a record aside, durably. Raises `StorageError`."""

    def lost_records(self, tp: TopicPartition, start: int, stop: int, reason: str) -> None:
        """Count, and tell of, the offsets from `start` to before `stop`, which the topic could not give back."""

    def lost(self, partition: KafkaPartition) -> None:
        """The journal, or a refused commit, showed that another process owns `partition`."""

    def sign(self, tp: TopicPartition) -> object:
        """Something that changes whenever the broker has answered a fetch of `tp`."""


class KafkaPartition(Partition):
    """Fed by the group's consumer (`received`); what the tail needs again and memory no longer has is fetched again."""

    pace_s = 0.2

    def __init__(
        self,
        tp: TopicPartition,
        signal: Signal,
        start: int,
        end: int,
        *,
        journal: DecisionJournal | None,
        reader: LogReader,
        budget: PayloadBudget,
        time: StreamTime,
        group: Membership,
        fed: Callable[[], None],
    ) -> None:
        self.name = f"{tp.topic}/{tp.partition}"
        self.tp = tp
        self._signal = signal
        self._committed = start
        self._end = end
        self._journal = journal
        self._reader = reader
        self._recent = RecentPayloads(budget)
        self._time = time
        self._group = group
        self._hungry = fed
        self._unread: deque[ConsumerRecord[bytes, bytes]] = deque()
        self._unread_bytes = 0
        self._fresh = self._readable = start
        self._again: deque[Record] = deque()
        self._again_at = self._again_next = -1
        self._grown = asyncio.Event()
        self._reading = asyncio.Lock()
        self._lost: list[tuple[int, int]] = []
        self._closed = False
        self.fetched = start
        """Position after what the consumer gave."""

    # -- the consumer's side

    @property
    def wants_more(self) -> bool:
        """Whether there is room for another fetch."""
        return self._unread_bytes < UNREAD_BYTES

    def received(self, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        """The next records of the log."""
        for record in records:
            if record.offset >= self.fetched:
                self._unread.append(record)
                self._unread_bytes += len(record.value or b"") + RECORD_BYTES
                self.fetched = record.offset + 1
        self.grown(self.fetched)

    def grown(self, end: int) -> None:
        """There are records up to `end`."""
        self._end = max(self._end, end)
        self._grown.set()

    def passed(self, position: int) -> None:
        """There is no record before `position` that wasn't given."""
        if position > self.fetched:
            self.fetched = position
            self.grown(position)

    def skip(self, position: int, reason: str) -> None:
        """Nothing before `position` can be read any more: what the consumer didn't give of it is lost."""
        if position > self.fetched:
            self._lose(self.fetched, position, reason)
            self.passed(position)

    def _lose(self, start: int, stop: int, reason: str) -> None:
        """Count what can't be read, once: the tail comes to what the head has missed."""
        for begin, end in self._lost:
            if begin <= start < end:
                start = end
            elif start < begin < stop:
                self._lose(start, begin, reason)
                start = min(end, stop)
        if start < stop:
            self._lost.append((start, stop))
            self._group.lost_records(self.tp, start, stop, reason)

    def close(self) -> None:
        """No longer this process's. Whoever still waits for it gets an error."""
        self._closed = True
        self._grown.set()
        self._recent.close()
        self._unread.clear()
        self._again.clear()
        self._reader.forget(self.tp)

    # -- the graph's side

    @property
    def committed(self) -> int:
        """See `Partition`."""
        return self._committed

    @property
    def end(self) -> int:
        """See `Partition`: as far as the broker, or an append of this very process, has told."""
        return self._end

    def now_ns(self) -> int:
        """See `Partition`."""
        return self._time.now(self._group.sign(self.tp))

    async def wait(self, position: int) -> None:
        """See `Partition`. Raises `OwnershipLostError` when the partition is given away meanwhile."""
        while self._end <= position:
            await self._growth()

    async def _growth(self) -> None:
        self._grown.clear()
        self._check_open()
        await self._grown.wait()
        self._check_open()

    async def read(self, position: int, max_bytes: int) -> Chunk:
        """See `Partition`."""
        self._check_open()
        if position >= self._fresh:
            async with self._reading:
                if position >= self._fresh:
                    return await self._read_fresh(position, max_bytes)
        if position >= self._readable:  # the head found nothing behind it that can be read
            self._readable = self._fresh
            return Chunk([], self._fresh)
        recent = self._recent.read(position, max_bytes)
        if recent is not None:
            self._again.clear()
            return recent
        return await self._read_again(position, max_bytes)

    async def _read_fresh(self, position: int, max_bytes: int) -> Chunk:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self._unread and self.fetched <= position:
                    await self._growth()
        except TimeoutError:
            raise StorageError("Kafka doesn't give the newest records") from None
        records: list[Record] = []
        while self._unread and (not records or len(self._unread[0].value or b"") <= max_bytes):
            raw = self._unread[0]
            try:
                context, count = admit(raw, self._signal)
            except UnreadableError as error:
                await self._group.quarantine(raw, str(error))
            else:
                time_ns = self._time.record(raw.timestamp)
                record = Record(raw.offset, time_ns, raw.value or b"", count, self._signal, context)
                self._recent.add(self._readable, record)
                self._readable = record.position + 1
                records.append(record)
                max_bytes -= len(record.payload)
            self._check_open()
            self._unread.popleft()
            self._unread_bytes -= len(raw.value or b"") + RECORD_BYTES
            self._fresh = raw.offset + 1
        if not self._unread:
            self._fresh = max(self._fresh, self.fetched)  # what lies between could not be read
        self._hungry()
        return Chunk(records, self._fresh)

    async def _read_again(self, position: int, max_bytes: int) -> Chunk:
        if position != self._again_at or not self._again:
            await self._fetch_again(position)
        records: list[Record] = []
        while self._again and (not records or len(self._again[0].payload) <= max_bytes):
            records.append(self._again.popleft())
            max_bytes -= len(records[-1].payload)
        self._again_at = records[-1].position + 1 if self._again else self._again_next
        return Chunk(records, self._again_at)

    async def _fetch_again(self, position: int) -> None:
        records: deque[Record] = deque()
        try:
            found = await self._reader.read(self.tp, position)
        except OutOfRangeError:
            first, _ = await self._reader.bounds(self.tp)
            held = self._recent.first(self._fresh)  # in memory, whatever the topic holds
            following = min(max(first, position + 1), held if held > position else self._fresh)
            self._lose(position, following, "retention")
        except UnreadableBatchError:
            missed = (stop for start, stop in self._lost if start <= position < stop)  # by the head
            following = next(missed, position + 1)
            self._lose(position, following, "damaged")
        else:
            following = min(found[-1].offset + 1, self._fresh)
            for raw in found:
                if raw.offset >= following:
                    break  # the head comes first, and gives it its time
                with suppress(UnreadableError):  # the head put it in quarantine
                    context, count = admit(raw, self._signal)
                    time_ns = self._time.again(raw.timestamp)
                    records.append(Record(raw.offset, time_ns, raw.value or b"", count, self._signal, context))
        self._check_open()
        # Not before: the other reader may have fetched meanwhile, from elsewhere.
        self._again, self._again_next = records, following

    async def commit(self, position: int) -> None:
        """See `Partition`."""
        if position > self._end:
            raise ValueError("a position that was never written can't be committed")
        if position <= self._committed:
            return
        self._check_open()
        try:
            await self._group.commit(self.tp, position)
        except OwnershipLostError:
            self._group.lost(self)
            raise
        self._committed = max(self._committed, position)
        self._lost = [(start, stop) for start, stop in self._lost if stop > self._committed]
        if not self._closed:
            self._recent.trim(self._committed)

    async def journal(self, blob: bytes, count: int, head: int, keep: int) -> None:
        """See `Partition`. Raises `StorageError` also where the reader was said to have no journal."""
        self._check_open()
        if self._journal is None:
            raise StorageError("this pipeline has no decisions topic")
        try:
            await self._journal.append(blob, count, head, keep, self._committed)
        except OwnershipLostError:
            self._group.lost(self)
            raise

    async def load_journal(self) -> Sequence[bytes]:
        """See `Partition`."""
        return await self._journal.load(self._end) if self._journal is not None else ()

    def _check_open(self) -> None:
        if self._closed:
            raise OwnershipLostError(f"partition {self.name} is no longer this process's")
