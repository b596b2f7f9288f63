"""Segments as the rest of the connector sees them, and the thread's side of writing them."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collector.connectors.disk import files
from collector.connectors.disk.compression import compress
from collector.connectors.disk.rows import Kind, Row, encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from collector.batch import Context, Signal
    from collector.connectors.disk.compression import Compression
    from collector.connectors.disk.files import LogFile, Synchronous

_WRITER_CACHE = 2 << 20
SIGNALS = ("traces", "metrics", "logs")
"""The order gives the number that a row holds."""
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class WriteError(Exception):
    """Nothing of these appends is in the log. `reason` is `disk_full` or `disk_error`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True, eq=False)
class Segment:
    """One file of records: positions `file.number` to `end`, or to the log's end while it is written (None).

    `raw`: not closed cleanly in an earlier life, or damaged; it is read by `Salvage`, never again by SQLite. `writer`
    is the connection that wrote it: while it is open SQLite has not copied the write-ahead log into the main file,
    which is wasted work for a segment that will be gone in a minute.
    """

    file: LogFile
    end: int | None = None
    raw: bool = False
    size: int = 0
    writer: sqlite3.Connection | None = None
    wal_path: str = ""

    @property
    def base(self) -> int:
        """Position of its first record."""
        return self.file.number


class Draft:
    """A record to be: payloads that share signal and context."""

    __slots__ = ("context", "count", "payloads", "signal", "size")

    def __init__(self, signal: Signal, context: Context) -> None:
        self.signal = signal
        self.context = context
        self.payloads: list[bytes] = []
        self.count = 0
        self.size = 0

    def add(self, payload: bytes, count: int) -> None:
        """Append one payload of `count` items."""
        self.payloads.append(payload)
        self.count += count
        self.size += len(payload)


class SegmentWriter:
    """Writes drafts to the active segment. Used by one thread."""

    def __init__(self, directory: Path, size: int, synchronous: Synchronous, compression: Compression) -> None:
        self._directory = directory
        self._size = size
        self._synchronous: Synchronous = synchronous
        self._compression: Compression = compression
        self._active: Segment | None = None

    def write(self, position: int, time_ns: int, drafts: Sequence[Draft]) -> tuple[list[bytes], list[Segment]]:
        """Commit one record a draft, from `position` on; the payloads as they will be read, and new segments.

        Raises `WriteError`; the next call then begins a new segment, since nobody knows what a failed write left.
        """
        payloads = [draft.payloads[0] if len(draft.payloads) == 1 else b"".join(draft.payloads) for draft in drafts]
        try:
            if files.free(self._directory) < files.ROOM_FOR_STATE + sum(map(len, payloads)):
                raise WriteError("disk_full")  # before anything is written: the active segment stays good
            segment = self._active
            opened = []
            if segment is None or segment.size >= self._size:
                segment = self._open(position)
                opened.append(segment)
            try:
                self._commit(segment, position, time_ns, drafts, payloads)
            except BaseException:
                self._abandon(segment, fresh=bool(opened))
                raise
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL") or _no_space(self._directory)
            raise WriteError("disk_full" if full else "disk_error") from error
        except OSError as error:
            raise WriteError("disk_full" if error.errno in _DISK_FULL else "disk_error") from error
        self._active = segment
        return payloads, opened

    def seal(self) -> None:
        """Begin a new segment with the next write. Call it while nothing is being written."""
        self._active = None

    def _open(self, position: int) -> Segment:
        file = files.new_segment(self._directory, position)
        files.create(file, self._synchronous)
        try:
            connection = files.connect(file, self._synchronous, cache=_WRITER_CACHE)
        except sqlite3.Error:
            file.unlink()
            raise
        return Segment(file, writer=connection, wal_path=str(file.wal))

    def _commit(
        self, segment: Segment, position: int, time_ns: int, drafts: Sequence[Draft], payloads: Sequence[bytes]
    ) -> None:
        rows = []
        for number, (draft, payload) in enumerate(zip(drafts, payloads, strict=True), start=position):
            body, codec = compress(payload, self._compression)
            row = Row(
                Kind.RECORD,
                number,
                time_ns,
                draft.count,
                body,
                len(payload),
                codec,
                SIGNALS.index(draft.signal.value),
                draft.context.tenant.encode(),
            )
            rows.append((number, encode(segment.file.magic, row)))
        connection = segment.writer
        if connection is None:
            raise WriteError("disk_error")
        if len(rows) == 1:
            connection.execute("INSERT INTO rows VALUES (?, ?)", rows[0])
        else:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        segment.size = files.template_size() + os.stat(segment.wal_path).st_size  # noqa: PTH116 - for each commit

    def _abandon(self, segment: Segment, *, fresh: bool) -> None:
        self._active = None
        connection = segment.writer
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if fresh:
            segment.file.unlink()
            if connection is not None:
                connection.close()
            segment.writer = None


def _no_space(directory: Path) -> bool:
    """Whether an I/O error of SQLite's was for want of room, which it doesn't always say."""
    try:
        return files.free(directory) < 1 << 20
    except OSError:
        return False
