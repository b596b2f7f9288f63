"""The `disk` connector: the embedded durable buffer between two pipelines of one process."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.component.connector import DurableConnector
from collector.connectors.disk import files
from collector.connectors.disk.log import DiskLog
from collector.connectors.disk.options import DiskOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from collector.batch import Batch
    from collector.component.base import BuildContext
    from collector.component.connector import PartitionListener

_READY = {
    "log_full": "the log is full",
    "log_closed": "the log is closed",
    "disk_full": "the disk is full",
    "disk_error": "the disk can't be written",
}


class DiskConnector(DurableConnector):
    """One log in one directory, of one process and one partition. See docs/components/disk.md.

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
        self._log: DiskLog | None = None
        self._listener: PartitionListener | None = None
        self._lock: int | None = None

    @property
    def directory(self) -> Path:
        """Where the log is."""
        directory: Path | None = self.config.directory
        return directory or self.context.data_dir / self.id.replace("/", "-")

    async def start(self, listener: PartitionListener | None) -> None:
        """See `DurableConnector`. Raises `StorageError` when the log is another's or can't be written, or `OSError`."""
        files.open_directory(self.directory)
        self._lock = files.lock(self.directory)
        try:
            log = DiskLog(self.directory, self.config, self.context, *self._clocks)
            await log.open()
        except BaseException:
            self._unlock()
            raise
        self._log, self._listener = log, listener
        if listener is None:
            self.context.log.warning("no pipeline of this process reads the log, and no other process can meanwhile")
        else:
            await listener.assigned(log)

    async def stop(self) -> None:
        """See `DurableConnector`."""
        log, listener = self._log, self._listener
        if log is None:
            return
        try:
            if listener is not None:
                await listener.revoked(log)
        finally:
            self._listener = None
            await log.close()
            self._log = None
            self._unlock()

    def append(self, batch: Batch) -> None:
        """See `DurableConnector`."""
        if self._log is None:
            batch.ack.resolve(Outcome.RETRY, "log_closed")
        else:
            self._log.append(batch)

    def ready(self) -> str | None:
        """See `DurableConnector`."""
        obstacle = "log_closed" if self._log is None else self._log.obstacle()
        return None if obstacle is None else _READY[obstacle]

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
