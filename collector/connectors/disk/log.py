"""The log as one partition. It lives on the event loop: threads do the waiting, all bookkeeping is done here."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from collector.component.connector import Chunk, Partition
from collector.connectors.disk import recovery
from collector.connectors.disk.catalog import Catalog
from collector.connectors.disk.group_commit import GroupCommit
from collector.connectors.disk.reader import SegmentReader
from collector.connectors.disk.recent import Recent
from collector.connectors.disk.segments import SegmentWriter
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from collector.batch import Batch
    from collector.component.base import BuildContext
    from collector.component.connector import Record
    from collector.connectors.disk.options import DiskOptions
    from collector.connectors.disk.segments import Segment

_T = TypeVar("_T")

_UNCOPIED = 2
"""Full segments that SQLite hasn't copied from the write-ahead log yet: most are deleted before they need it."""
_MAX_PAYLOAD = 512 << 20
"""SQLite's limit for a value is a billion bytes."""
_PRESSURE = 0.85
_JOURNAL_SHARE = 8
"""The part of `max_size` that old verdicts may take: they count, and a log full of them would stay full."""


class DiskLog(Partition):
    """The one partition of a disk connector. `await open()` it first, `await close()` it last."""

    name = "0"

    def __init__(
        self,
        directory: Path,
        config: DiskOptions,
        context: BuildContext,
        monotonic_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._config = config
        self._log = context.log
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
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
        self._reader = SegmentReader(self._lost_in_thread)
        self._recent = Recent(config.recent_bytes)
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._catalog = Catalog()
        self._state_bytes = 0
        self._committed = self._end = self._base_ns = self._base_monotonic = 0
        self._open = False
        context.meter.watch("butterfly_log_end", lambda: self._end, partition=self.name, **labels)
        context.meter.watch("butterfly_log_bytes", lambda: self.size, **labels)

    async def open(self) -> None:
        """Recover what earlier lives left. Raises `StorageError`, `OSError`."""
        try:
            room = self._config.max_size // _JOURNAL_SHARE
            found = await self._loop.run_in_executor(
                self._state_pool, recovery.recover, self._directory, self._config.synchronous, room, self._wall_ns
            )
        except sqlite3.Error:
            self._shut_down()
            raise StorageError("the log's state can't be written") from None
        except BaseException:
            self._shut_down()
            raise
        self._state = found.state
        self._catalog = Catalog(found.segments)
        self._committed, self._end = found.committed, found.end
        self._base_ns, self._base_monotonic = found.time_ns, self._monotonic_ns()
        self._state_bytes = self._state.size()
        for loss in found.losses:
            self._log.error("%s", loss.sentence)
            self._lost_total.labels(reason=loss.reason, **self._labels).inc(loss.count)
        for note in found.notes:
            self._log.warning("%s", note)
        self._open = True
        self._retire()

    async def close(self) -> None:
        """Write what waits, leave the files clean. What others still wait for ends in `StorageError`."""
        await self._appends.close()
        self._open = False
        for future in self._waiters:
            if not future.done():
                future.set_exception(StorageError("the log is closed"))
        try:
            await self._in_state_thread(self._state.commit, self._committed, self._end, self.now_ns())
        except StorageError:
            self._log.warning("the log's last position could not be written; the next start will find it")
        await self._loop.run_in_executor(self._read_pool, self._reader.close)
        for segment in self._catalog.cold(0):
            await self._loop.run_in_executor(self._clean_pool, _finish, segment)
        if self._catalog.newest is not None:
            await self._loop.run_in_executor(self._clean_pool, _finish, self._catalog.newest)
        await self._loop.run_in_executor(self._state_pool, self._state.close)
        self._shut_down()

    def _shut_down(self) -> None:
        for pool in (self._state_pool, self._read_pool, self._clean_pool):
            pool.shutdown()

    # -- what is known without asking anybody

    @property
    def committed(self) -> int:
        """See `Partition`."""
        return self._committed

    @property
    def end(self) -> int:
        """See `Partition`."""
        return self._end

    @property
    def size(self) -> int:
        """Bytes of all files, as of the last write to each."""
        return self._catalog.bytes + self._state_bytes

    def now_ns(self) -> int:
        """See `Partition`: the last record's time, and what this life has measured since it opened the log."""
        return self._base_ns + self._monotonic_ns() - self._base_monotonic

    def under_pressure(self) -> bool:
        """See `Partition`."""
        return self.size >= _PRESSURE * self._config.max_size or self._appends.obstacle() is not None

    def obstacle(self) -> str | None:
        """Why an append would be refused now: `log_full`, `log_closed`, `disk_full`, `disk_error`; or None."""
        if not self._open:
            return "log_closed"
        if self.size + self._appends.waiting_bytes >= self._config.max_size:
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
            self._appends.refuse(batch, reason)

    def _written(self, records: Sequence[Record], opened: Sequence[Segment]) -> None:
        self._catalog.add(opened)
        for record in records:
            self._recent.add(record)
        self._end = records[-1].position + 1
        self._recent.trim(self._committed)
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
                self._read_pool, self._reader.read, segments, max(position, segments[0].base), stop, max_bytes
            )
        except OSError as error:
            raise StorageError(f"the log can't be read now: {error.strerror}") from None
        return Chunk(records, following)

    def _lost_in_thread(self, positions: Sequence[int]) -> None:
        self._loop.call_soon_threadsafe(self._lost, positions)

    def _lost(self, positions: Sequence[int]) -> None:
        """Count damaged records, but for those that were settled before they were damaged."""
        lost = [position for position in positions if position >= self._committed]
        if lost:
            self._lost_total.labels(reason="damaged", **self._labels).inc(len(lost))
            self._log.error("%d damaged records between positions %d and %d", len(lost), lost[0], lost[-1])

    # -- committing

    async def commit(self, position: int) -> None:
        """See `Partition`. Raises `ValueError` for a position that doesn't exist yet; an older one changes nothing."""
        if position > self._end:
            raise ValueError("a position that was never written can't be committed")
        if position <= self._committed:
            return
        await self._in_state_thread(self._state.commit, position, self._end, self.now_ns())
        self._committed = max(self._committed, position)
        self._recent.trim(self._committed)
        self._retire()

    async def journal(self, blob: bytes, count: int, head: int, keep: int) -> None:
        """See `Partition`."""
        write = partial(self._state.journal, blob, count, head, keep=keep, time_ns=self.now_ns())
        await self._in_state_thread(write)

    async def load_journal(self) -> Sequence[bytes]:
        """See `Partition`."""
        blobs, lost = await self._in_state_thread(self._state.blobs)
        if lost:
            self._lost_total.labels(reason="journal", **self._labels).inc(lost)
            self._log.error("%d entries of the decision journal are damaged", lost)
        return blobs

    async def _in_state_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        try:
            result = await self._loop.run_in_executor(self._state_pool, function, *arguments)
        except (sqlite3.Error, RuntimeError) as error:
            raise StorageError("the log's state can't be written now") from error
        self._state_bytes = self._state.size()
        return result

    # -- files that are done with

    def _retire(self) -> None:
        """Delete segments that are settled.

        The one that is written stays, unless the log is full: then nothing would ever end it.
        """
        newest = self._catalog.newest
        idle = not self._appends.waiting_bytes
        if newest is not None and newest.size >= self._segment_size and idle and self._committed == self._end:
            newest.end = self._end
            self._writer.seal()
        for segment in self._catalog.take_settled(self._committed):
            task = self._loop.run_in_executor(self._read_pool, self._reader.forget, segment)
            task.add_done_callback(partial(self._retired, segment))

    def _retired(self, segment: Segment, done: asyncio.Future[None]) -> None:
        self._catalog.deleted(segment)
        if not done.cancelled() and done.exception() is not None:
            self._log.error("a settled segment of the log could not be deleted")

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
