"""The `file` exporter: one OTLP/JSON request a line, with rotation."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from collector.api import (
    BuildContext,
    ConfigError,
    Exporter,
    ExporterOptions,
    LineFile,
    Options,
    RetryableExportError,
    Signal,
    option,
    to_json,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.api import Batch


_WHOLE = 1 << 20
"""Bytes of a payload whose JSON, up to seven times as long, is made in memory. A longer one is written twice, the first
time to be measured: rotation must know how long a line is.
"""


class RotationOptions(Options):
    """`rotation`: when a new file is begun, and how many old ones are kept."""

    max_megabytes: int = option(100, about="Size at which the file is set aside, in MiB.", gt=0)
    max_backups: int = option(100, about="Old files that are kept; older ones are removed. 0 keeps all.", ge=0)


class FileOptions(ExporterOptions):
    """Options of `file`."""

    path: str = option(about="File to append to; folders are made.", min_length=1)
    rotation: RotationOptions | None = option(None, about="Rotation by size; without it the file just grows.")
    format: Literal["json"] = option("json", about="OTLP/JSON, one request a line.")
    fsync: bool = option(False, about="Wait for the disk before a batch counts as delivered.")


class FileExporter(Exporter):
    """Writes batches to a file. See `docs/components/file.md`."""

    Config = FileOptions
    order = "fifo"

    def __init__(self, config: FileOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        rotation = config.rotation
        self._lines = LineFile(
            Path(config.path),
            max_bytes=rotation.max_megabytes << 20 if rotation else 0,
            max_backups=rotation.max_backups if rotation else 0,
            fsync=config.fsync,
        )
        self._thread = ThreadPoolExecutor(1, "file-exporter")

    async def start(self) -> None:
        """Open the file. Raises `ConfigError` when it can't be."""
        try:
            await self._in_thread(self._lines.open)
        except OSError as error:
            raise ConfigError([f"path: can't be appended to: {error.strerror}"]) from None

    async def stop(self) -> None:
        """Finish what is being written and close."""
        await self._in_thread(self._lines.close)
        self._thread.shutdown(wait=False)

    async def export(self, batch: Batch) -> int:
        """Append the batch; it outlives this process when this returns, and a power cut with `fsync`."""
        try:
            await self._in_thread(self._append, batch.to_bytes(), batch.signal)
        except OSError as error:
            raise RetryableExportError(f"the file can't be written: {error.strerror}") from None
        return 0

    def _append(self, payload: bytes, signal: Signal) -> None:
        if len(payload) <= _WHOLE:
            self._lines.append(to_json(payload, signal.value))
            return
        size = 0

        def count(piece: bytes) -> None:
            nonlocal size
            size += len(piece)

        write_json(payload, count, signal.value)
        self._lines.append_in_pieces(size, lambda write: write_json(payload, write, signal.value))

    async def _in_thread(self, function: Callable[..., None], *arguments: object) -> None:
        """One thread does everything to the file: a write whose caller was cancelled still ends before the
        next.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
