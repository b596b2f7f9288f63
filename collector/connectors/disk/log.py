"""The log of one signal. It lives on the event loop: threads do the waiting, all bookkeeping is done here."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from collector.component.connector import Chunk
from collector.connectors.disk import files, recovery
from collector.connectors.disk.catalog import Catalog
from collector.connectors.disk.group_commit import GroupCommit
from collector.connectors.disk.partition import DiskPartition
from collector.connectors.disk.reader import SegmentReader
from collector.connectors.disk.recent import Recent
from collector.connectors.disk.segments import SegmentWriter
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from collector.batch import Batch, Signal
    from collector.component.base import BuildContext
    from collector.component.connector import Record
    from collector.connectors.disk.options import DiskOptions
    from collector.connectors.disk.room import Room
    from collector.connectors.disk.segments import Segment

_UNCOPIED = 2
"""Full segments that SQLite hasn't copied from the write-ahead log yet: most are deleted before they need it."""
_MAX_PAYLOAD = 512 << 20
"""SQLite's limit for a value is a billion bytes."""


class DiskLog:
    """All records of one signal, and its readers. `await open()` it first, `await close()` it last.

    `readers` has the pipelines of the configuration that read it, their IDs by name; `journal_room` is what the old
    verdicts of each may take; `clocks` are the monotonic one and the wall's.
    """

    def __init__(
        self,
        directory: Path,
        config: DiskOptions,
        context: BuildContext,
        *,
        signal: Signal,
        readers: Mapping[str, str],
        room: Room,
        journal_room: int,
        clocks: tuple[Callable[[], int], Callable[[], int]],
    ) -> None:
        self.signal = signal
        self.partitions: dict[str, DiskPartition] = {}
        """By the reader's name."""
        self._directory = directory
        self._readers = readers
        self._config = config
        self._log = context.log
        self._room = room
        self._journal_room = journal_room
        self._monotonic_ns, self._wall_ns = clocks
        self._loop = asyncio.get_running_loop()
        self._state_pool = ThreadPoolExecutor(1, "disk-state")
        self._read_pool = ThreadPoolExecutor(1, "disk-read")
        self._clean_pool = ThreadPoolExecutor(1, "disk-clean")
        # Smaller than a part of the limit, or a full log could wait for a segment that never fills.
        self._segment_size = min(config.segment_size, config.max_size // 8)
        self._writer = SegmentWriter(directory, self._segment_size, config.synchronous, config.compression)
        labels = {"connector": context.id}
        refused = context.meter.counter("butterfly_log_refused_total")
        self._lost_total = context.meter.counter("butterfly_log_lost_records_total")
        self._labels = labels
        self._appends = GroupCommit(
            self._writer,
            config,
            stamp=lambda: (self._end, self.now_ns()),
            written=self._written,
            refused=lambda reason: refused.labels(reason=reason, **labels).inc(),
            took=context.meter.histogram("butterfly_log_commit_seconds").labels(**labels).observe,
            log=context.log,
        )
        self._segment_reader = SegmentReader(self._lost_in_thread)
        self._recent = Recent(config.recent_bytes)
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._catalog = Catalog()
        self._end = self._base_ns = self._base_monotonic = 0
        self._open = False
        self._forsaken = False
        self._forgetting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Recover what earlier lives left. Raises `StorageError`, `OSError`."""
        try:
            found = await self._loop.run_in_executor(
                self._state_pool,
                recovery.recover,
                self._directory,
                self._readers.keys(),
                self._config.synchronous,
                self._journal_room,
                self._wall_ns,
            )
        except sqlite3.Error:
            self._shut_down()
            raise StorageError("the log's state can't be written") from None
        except BaseException:
            self._shut_down()
            raise
        self._catalog = Catalog(found.segments)
        self._end = found.end
        self._base_ns, self._base_monotonic = found.time_ns, self._monotonic_ns()
        for each in found.readers:
            self.partitions[each.name] = DiskPartition(self, each, self._state_pool, self._loop)
        for loss in found.losses:
            self.lose(loss.reader, loss.reason, loss.count, loss.sentence)
        for note in found.notes:
            self._log.warning("%s", note)
        for unwanted in self._unwanted():
            if unwanted.committed == self._end:
                self._forsake(unwanted)
            else:
                self._log.warning(
                    "no pipeline of the configuration is %s, for which %d records of %s are kept: they stay until "
                    "others need their room",
                    unwanted.reader,
                    self._end - unwanted.committed,
                    self.signal.value,
                )
        self._open = True
        self._retire()

    async def close(self) -> None:
        """Write what waits, leave the files clean. What others still wait for ends in `StorageError`."""
        await self._appends.close()
        self._open = False
        for future in self._waiters:
            if not future.done():
                future.set_exception(StorageError("the log is closed"))
        await asyncio.gather(*self._forgetting)
        for partition in self.partitions.values():
            try:
                await partition.save()
            except StorageError:
                self._log.warning("the log's last position could not be written; the next start will find it")
        await self._loop.run_in_executor(self._read_pool, self._segment_reader.close)
        for segment in self._catalog.cold(0):
            await self._loop.run_in_executor(self._clean_pool, _finish, segment)
        if self._catalog.newest is not None:
            await self._loop.run_in_executor(self._clean_pool, _finish, self._catalog.newest)
        for partition in self.partitions.values():
            await partition.close()
        self._shut_down()

    def _shut_down(self) -> None:
        for pool in (self._state_pool, self._read_pool, self._clean_pool):
            pool.shutdown()

    # -- what is known without asking anybody

    @property
    def settled(self) -> int:
        """Position before which every reader has settled everything."""
        return min((each.committed for each in self.partitions.values()), default=self._end if self._forsaken else 0)

    @property
    def end(self) -> int:
        """Position after the newest durable record."""
        return self._end

    @property
    def size(self) -> int:
        """Bytes of all files, as of the last write to each."""
        return self._catalog.bytes + sum(each.state_bytes for each in self.partitions.values())

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were taken and aren't written yet."""
        return self._appends.waiting_bytes

    def now_ns(self) -> int:
        """Stream time: the last record's time, and what this life has measured since it opened the log."""
        return self._base_ns + self._monotonic_ns() - self._base_monotonic

    def under_pressure(self) -> bool:
        """Whether this log should give room back soon."""
        return self._room.presses(self) or self._appends.obstacle() is not None

    def obstacle(self) -> str | None:
        """Why an append would be refused now: `log_full`, `log_closed`, `disk_full`, `disk_error`; or None."""
        if not self._open:
            return "log_closed"
        if self._room.is_full():
            return "log_full"
        return self._appends.obstacle()

    # -- appending

    def append(self, batch: Batch) -> None:
        """See `DurableConnector.append`."""
        payload = batch.to_bytes()
        reason = "too_large" if len(payload) > _MAX_PAYLOAD else self.obstacle()
        if reason is None:
            self._appends.append(batch, payload)
        else:
            if reason in {"log_full", "disk_full"}:
                self._room.relieve()
            self._appends.refuse(batch, reason)

    def _written(self, records: Sequence[Record], opened: Sequence[Segment]) -> None:
        self._catalog.add(opened)
        for record in records:
            self._recent.add(record)
        self._end = records[-1].position + 1
        self._recent.trim(self.settled)
        if self._room.is_short():
            self._room.relieve()
        if opened:
            self._copy_cold()
            self._retire()
        for future, position in self._waiters.items():
            if position < self._end and not future.done():
                future.set_result(None)

    # -- reading

    async def wait(self, position: int) -> None:
        """See `Partition`. Raises `StorageError` when the log is closed meanwhile."""
        if self._end > position:
            return
        if not self._open:
            raise StorageError("the log is closed")
        future = self._loop.create_future()
        self._waiters[future] = position
        try:
            await future
        finally:
            del self._waiters[future]

    async def read(self, position: int, max_bytes: int) -> Chunk:
        """See `Partition`. Raises `StorageError` also when the log is closed."""
        if not self._open:
            raise StorageError("the log is closed")
        chunk = self._recent.read(position, max_bytes)
        if chunk is not None:
            return chunk
        stop = self._recent.first(self._end)
        segments = self._catalog.covering(position, stop)
        if not segments or position >= stop:
            return Chunk((), max(position, stop))
        try:
            records, following = await self._loop.run_in_executor(
                self._read_pool, self._segment_reader.read, segments, max(position, segments[0].base), stop, max_bytes
            )
        except OSError as error:
            raise StorageError(f"the log can't be read now: {error.strerror}") from None
        return Chunk(records, following)

    def _lost_in_thread(self, positions: Sequence[int]) -> None:
        self._loop.call_soon_threadsafe(self._lost, positions)

    def _lost(self, positions: Sequence[int]) -> None:
        """Count damaged records, for each reader that had not settled them before they were damaged."""
        for partition in self.partitions.values():
            lost = [position for position in positions if position >= partition.committed]
            if lost and partition.wanted:
                sentence = f"{len(lost)} damaged records between positions {lost[0]} and {lost[-1]}"
                sentence += f" of {self.signal.value}, lost to {partition.reader}"
                self.lose(partition.reader, "damaged", len(lost), sentence)

    def lose(self, reader: str, reason: str, count: int, sentence: str) -> None:
        """Count what the reader of that name will never get, and say it."""
        pipeline = self._readers.get(reader, reader)
        self._lost_total.labels(pipeline=pipeline, reason=reason, **self._labels).inc(count)
        self._log.error("%s", sentence)

    # -- files that are done with

    def freed(self) -> None:
        """A reader has settled more."""
        self._recent.trim(self.settled)
        self._retire()

    def _retire(self) -> None:
        """Delete segments that are settled.

        The one that is written stays, unless the log is full: then nothing would ever end it.
        """
        newest = self._catalog.newest
        idle = not self._appends.waiting_bytes
        if newest is not None and newest.size >= self._segment_size and idle and self.settled == self._end:
            newest.end = self._end
            self._writer.seal()
        for segment in self._catalog.take_settled(self.settled):
            task = self._loop.run_in_executor(self._read_pool, self._segment_reader.forget, segment)
            task.add_done_callback(partial(self._retired, segment))

    def _retired(self, segment: Segment, done: asyncio.Future[None]) -> None:
        self._catalog.deleted(segment)
        if not done.cancelled() and done.exception() is not None:
            self._log.error("a settled segment of the log could not be deleted")

    def _unwanted(self) -> list[DiskPartition]:
        return [each for each in self.partitions.values() if not each.wanted]

    def relieve(self) -> None:
        """Let go of readers that the configuration doesn't name, and of what only they have not settled."""
        for unwanted in self._unwanted():
            before = self.settled
            self._forsake(unwanted)
            self._log.warning(
                "no pipeline of the configuration is %s, and others need the room: %d records of %s are deleted that "
                "were kept for it alone",
                unwanted.reader,
                self.settled - before,
                self.signal.value,
            )
            self.freed()

    def _forsake(self, partition: DiskPartition) -> None:
        del self.partitions[partition.reader]
        self._forsaken = not self.partitions
        task = self._loop.create_task(self._forget(partition))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, partition: DiskPartition) -> None:
        await partition.close()
        try:
            await self._loop.run_in_executor(self._clean_pool, files.forget_reader, self._directory, partition.reader)
        except OSError:
            self._log.error("the state of %s could not be deleted", partition.reader)

    def _copy_cold(self) -> None:
        for segment in self._catalog.cold(_UNCOPIED):
            task = self._loop.run_in_executor(self._clean_pool, _finish, segment)
            task.add_done_callback(partial(self._copied, segment))

    def _copied(self, segment: Segment, done: asyncio.Future[int]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._catalog.resized(segment, done.result())


def _finish(segment: Segment) -> int:
    """Close the connection that wrote `segment`, upon which SQLite empties its write-ahead log; its size then."""
    connection, segment.writer = segment.writer, None
    if connection is not None:
        connection.close()
    return segment.file.size()
