"""The `disk` connector: the embedded durable buffer between pipelines of one process."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.batch import Signal
from collector.component.connector import DurableConnector, Reader
from collector.connectors.disk import files
from collector.connectors.disk.log import DiskLog
from collector.connectors.disk.options import DiskOptions
from collector.connectors.disk.room import Room
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from collector.batch import Batch
    from collector.component.base import BuildContext
    from collector.component.connector import PartitionListener
    from collector.connectors.disk.partition import DiskPartition

JOURNAL_SHARE = 8
"""The part of `max_size` that old verdicts may take: they count, and a log full of them would stay full."""

_READY = {
    "log_full": "the log is full",
    "log_closed": "the log is closed",
    "disk_full": "the disk is full",
    "disk_error": "the disk can't be written",
}


class DiskConnector(DurableConnector):
    """A log for each signal below one directory, of one process and one partition. See docs/components/disk.md.

    `monotonic_ns` and `wall_ns` are for tests.
    """

    Config = DiskOptions

    def __init__(
        self,
        config: DiskOptions,
        context: BuildContext,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(config, context)
        self._clocks = monotonic_ns, wall_ns
        self._logs: dict[Signal, DiskLog] = {}
        self._room = Room(config.max_size)
        self._assigned: list[tuple[PartitionListener, DiskPartition]] = []
        self._lock: int | None = None

    @property
    def directory(self) -> Path:
        """Where the logs are."""
        directory: Path | None = self.config.directory
        return directory or self.context.data_dir / self.id.replace("/", "-")

    async def start(self, listeners: Sequence[PartitionListener]) -> None:
        """See `DurableConnector`. Raises `StorageError` when a log is another's or can't be written, or `OSError`."""
        files.open_directory(self.directory)
        self._lock = files.lock(self.directory)
        try:
            self._refuse_earlier_layout()
            await self._open_logs(listeners)
            self.context.meter.watch("butterfly_log_bytes", lambda: self._room.used, connector=self.id)
            for listener in listeners:
                partition = self._logs[listener.signal].partitions[Reader(listener.id, listener.signal).name]
                await listener.assigned(partition)
                self._assigned.append((listener, partition))
        except BaseException:
            await self._revoke()
            await self._close()
            raise
        if not listeners:
            self.context.log.warning("no pipeline of this process reads the log, and no other process can meanwhile")

    def _refuse_earlier_layout(self) -> None:
        if files.segments(self.directory) or files.states(self.directory):
            raise StorageError(
                "the directory holds a log of an earlier version, in which all signals were together: let that version "
                "finish it, or move the files away"
            )

    async def _open_logs(self, listeners: Sequence[PartitionListener]) -> None:
        readers: dict[Signal, dict[str, str]] = {signal: {} for signal in self.context.signals}
        named = {reader.id: reader for reader in self.context.readers or ()}
        for reader in (*named.values(), *(Reader(each.id, each.signal) for each in listeners if each.id not in named)):
            readers.setdefault(reader.signal, {})[reader.name] = reader.id
        for signal in Signal:
            directory = self.directory / signal.value
            if signal not in readers and not directory.exists():
                continue
            files.open_directory(directory)
            wanted = readers.get(signal, {})
            if self.context.readers is None:
                wanted = {name: name for name in files.readers(directory)} | wanted
            log = DiskLog(
                directory,
                self.config,
                self.context,
                signal=signal,
                readers=wanted,
                room=self._room,
                journal_room=self.config.max_size // JOURNAL_SHARE // max(sum(map(len, readers.values())), 1),
                clocks=self._clocks,
            )
            await log.open()
            self._logs[signal] = log
            self._room.logs.append(log)

    async def stop(self) -> None:
        """See `DurableConnector`. Raises what a listener raised, when all is closed."""
        failures = await self._revoke()
        await self._close()
        for failure in failures:
            raise failure

    async def _revoke(self) -> list[BaseException]:
        assigned, self._assigned = self._assigned, []
        revoked = (listener.revoked(partition) for listener, partition in assigned)
        results = await asyncio.gather(*revoked, return_exceptions=True)
        return [result for result in results if result is not None]

    async def _close(self) -> None:
        logs, self._logs = self._logs, {}
        await asyncio.gather(*(log.close() for log in logs.values()))
        self._room.logs.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, batch: Batch) -> None:
        """See `DurableConnector`."""
        log = self._logs.get(batch.signal)
        if log is None:
            batch.ack.resolve(Outcome.RETRY, "log_closed")
        else:
            log.append(batch)

    def ready(self) -> str | None:
        """See `DurableConnector`."""
        obstacles = [log.obstacle() for log in self._logs.values()] or ["log_closed"]
        return next((_READY[obstacle] for obstacle in obstacles if obstacle is not None), None)
