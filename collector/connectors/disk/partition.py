"""A log as one of its readers has it: a committed position and a decision journal of its own."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from collector.component.connector import Partition
from collector.errors import StorageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from collector.component.connector import Chunk
    from collector.connectors.disk.log import DiskLog
    from collector.connectors.disk.recovery import RecoveredReader

_T = TypeVar("_T")


class DiskPartition(Partition):
    """The one partition of a log, for one reader. The log does the rest.

    `pool` has the one thread that may use the reader's state.
    """

    def __init__(self, log: DiskLog, found: RecoveredReader, pool: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self.name = log.signal.value
        self.reader = found.name
        self.wanted = found.wanted
        """Whether the configuration names the reader."""
        self.state_bytes = found.state.size()
        self._log = log
        self._state = found.state
        self._committed = found.committed
        self._pool = pool
        self._loop = loop

    @property
    def committed(self) -> int:
        """See `Partition`."""
        return self._committed

    @property
    def end(self) -> int:
        """See `Partition`."""
        return self._log.end

    def now_ns(self) -> int:
        """See `Partition`."""
        return self._log.now_ns()

    def under_pressure(self) -> bool:
        """See `Partition`: where other readers hold the log back, going on sooner would free nothing."""
        return self._committed <= self._log.settled and self._log.under_pressure()

    async def wait(self, position: int) -> None:
        """See `Partition`. Raises `StorageError` when the log is closed meanwhile."""
        await self._log.wait(position)

    async def read(self, position: int, max_bytes: int) -> Chunk:
        """See `Partition`. Raises `StorageError` also when the log is closed."""
        return await self._log.read(position, max_bytes)

    async def commit(self, position: int) -> None:
        """See `Partition`. Raises `ValueError` for a position that doesn't exist yet; an older one changes nothing."""
        if position > self.end:
            raise ValueError("a position that was never written can't be committed")
        if position <= self._committed:
            return
        await self._in_state_thread(self._state.commit, position, self.end, self.now_ns())
        self._committed = max(self._committed, position)
        self._log.freed()

    async def journal(self, blob: bytes, count: int, head: int, keep: int) -> None:
        """See `Partition`."""
        write = partial(self._state.journal, blob, count, head, keep=keep, end=self.end, time_ns=self.now_ns())
        await self._in_state_thread(write)

    async def load_journal(self) -> Sequence[bytes]:
        """See `Partition`."""
        blobs, lost = await self._in_state_thread(self._state.blobs)
        if lost:
            self._log.lose(
                self.reader, "journal", lost, f"{lost} entries of {self.reader}'s decision journal are damaged"
            )
        return blobs

    async def save(self) -> None:
        """Write down where the log ends. Raises `StorageError`."""
        await self._in_state_thread(self._state.commit, self._committed, self.end, self.now_ns())

    async def close(self) -> None:
        """Close the state file, which is whole then."""
        await self._loop.run_in_executor(self._pool, self._state.close)

    async def _in_state_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        try:
            result = await self._loop.run_in_executor(self._pool, function, *arguments)
        except (sqlite3.Error, RuntimeError) as error:
            raise StorageError("the log's state can't be written now") from error
        self.state_bytes = self._state.size()
        return result
