"""Which files the logs are made of, how they are named and made, and the SQLite connections to them.

    lock                                                    held by the process that has the logs open
    <signal>/<position>-<magic>.v1.log                      one segment: records from there to the next segment's first
    <signal>/<reader>/state.<generation>-<magic>.v1.db      a reader's committed position and decision journal
    <signal>/<reader>/reserve                               room given up when the disk is full, to free more of it

Each may have SQLite's `-wal` and `-shm` beside it. A file is never appended to in a second life of the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Synchronous = Literal["off", "normal", "full"]

PAGE_SIZE = 4096
VERSION = 1

_SEGMENT = re.compile(r"((\d{20})-([0-9a-f]{16})\.v(\d+)\.log)(?:-wal|-shm)?")
_STATE = re.compile(r"(state\.(\d{8})-([0-9a-f]{16})\.v(\d+)\.db)(?:-wal|-shm)?")
_DRAFT, _GONE = "new", "gone"
"""A reader that is being made, or removed. No pipeline has such a name."""
_RESERVE = "reserve"
_RESERVE_SIZE = 1 << 20
ROOM_FOR_STATE = 8 << 20
"""Bytes of a full disk that appends leave to the state file: only commits can free more."""
ROOM_FOR_COMMITS = 4 << 20
"""Bytes of these that verdicts leave to commits: some thousand of them, before a segment is settled."""
_SIDES = ("", "-wal", "-shm")
_templates: list[bytes] = []


@dataclass(frozen=True, slots=True)
class LogFile:
    """One SQLite file of the log. `number` is a segment's first position, or a state file's generation."""

    path: Path
    number: int
    magic: bytes

    @property
    def wal(self) -> Path:
        """SQLite's write-ahead log beside it."""
        return self.path.with_name(self.path.name + "-wal")

    def size(self) -> int:
        """Bytes on disk, side files included."""
        return sum(_size(self.path.with_name(self.path.name + side)) for side in _SIDES[:2])

    def unlink(self) -> None:
        """Remove it and its side files, the main file first: SQLite then doesn't checkpoint what is thrown away."""
        for side in _SIDES:
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + side).unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def open_directory(directory: Path) -> None:
    """Make a directory of the log, readable by its owner alone. Raises `OSError`."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)


def lock(directory: Path) -> int:
    """The descriptor that holds the log for this process. Raises `StorageError` when another one has it."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            raise StorageError(
                "the log's directory is in use by another process; a disk connector joins pipelines of one process"
            ) from None
        raise
    return descriptor


def readers(directory: Path) -> list[str]:
    """The readers whose state is in a log's directory, by name."""
    return sorted(path.name for path in directory.iterdir() if path.is_dir() and path.name not in {_DRAFT, _GONE})


@contextlib.contextmanager
def new_reader(directory: Path, name: str, synchronous: Synchronous) -> Iterator[Path]:
    """Where to write the state of a new reader: it is there as a whole at the end, or not at all. Raises `OSError`."""
    draft = directory / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    yield draft
    draft.rename(directory / name)
    if synchronous != "off":
        sync_directory(directory)


def forget_reader(directory: Path, name: str) -> None:
    """Remove the state of a reader, as a whole. Raises `OSError`."""
    gone = directory / _GONE
    shutil.rmtree(gone, ignore_errors=True)
    (directory / name).rename(gone)
    shutil.rmtree(gone)


def free(directory: Path) -> int:
    """Bytes that can still be written beside the log. Raises `OSError`."""
    room = os.statvfs(directory)
    return room.f_bavail * room.f_frsize


def segments(directory: Path) -> list[LogFile]:
    """The segments there are, in order of position. Raises `StorageError` for a format that this version can't read."""
    return _files(directory, _SEGMENT)


def states(directory: Path) -> list[LogFile]:
    """The state files there are, oldest first: one, but for a crash while it was being replaced."""
    return _files(directory, _STATE)


def new_segment(directory: Path, position: int) -> LogFile:
    """The name of a segment that begins at `position`."""
    magic = secrets.token_bytes(8)
    return LogFile(directory / f"{position:020d}-{magic.hex()}.v{VERSION}.log", position, magic)


def new_state(directory: Path, generation: int) -> LogFile:
    """The name of a state file."""
    magic = secrets.token_bytes(8)
    return LogFile(directory / f"state.{generation:08d}-{magic.hex()}.v{VERSION}.db", generation, magic)


def _files(directory: Path, pattern: re.Pattern[str]) -> list[LogFile]:
    """Also those of which only a side file is left: it may hold all there is."""
    found: dict[str, LogFile] = {}
    for path in directory.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        name, number, magic, version = match.groups()
        if int(version) != VERSION:
            raise StorageError(f"the log is in format {version}; this version reads format {VERSION}")
        found[name] = LogFile(directory / name, int(number), bytes.fromhex(magic))
    return [found[name] for name in sorted(found)]


def create(file: LogFile, synchronous: Synchronous) -> None:
    """Write an empty database with the one table that every file has. Raises `OSError`; leaves nothing then."""
    descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            template = _template()
            if os.write(descriptor, template) != len(template):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if synchronous == "full":
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if synchronous == "full":
            sync_directory(file.path.parent)
    except OSError:
        file.unlink()
        raise


def reserve(directory: Path) -> None:
    """Set some room aside, where there is any."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory / _RESERVE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVE_SIZE)
        finally:
            os.close(descriptor)


def release(directory: Path) -> bool:
    """Give the room up that `reserve` set aside. Whether there was any."""
    path = directory / _RESERVE
    given = _size(path) > 0
    with contextlib.suppress(OSError):
        path.unlink()
    return given


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def template_size() -> int:
    """Bytes of a file in which everything else is still in its write-ahead log."""
    return len(_template())


def _template() -> bytes:
    """An empty database: made once, since it costs SQLite several syncs and this one write."""
    if not _templates:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        with contextlib.closing(connection):
            connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
            connection.execute("PRAGMA auto_vacuum=0")
            connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, data BLOB NOT NULL)")
            image = bytearray(connection.serialize())
        image[18] = image[19] = 2  # file format 1.3: "2 for WAL"
        _templates.append(bytes(image))
    return _templates[0]


def connect(file: LogFile, synchronous: Synchronous, *, cache: int, checkpoint_pages: int = 0) -> sqlite3.Connection:
    """A connection in autocommit mode that any one thread at a time may use. Raises `sqlite3.Error`.

    `cache` is in bytes; `checkpoint_pages` 0 leaves everything in the write-ahead log until the last connection closes.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(file.path))}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=16,
        timeout=5,
    )
    try:
        for pragma in (
            f"synchronous={synchronous}",
            f"cache_size=-{cache >> 10}",
            f"wal_autocheckpoint={checkpoint_pages}",
            "secure_delete=OFF",
            "cell_size_check=ON",
            "mmap_size=0",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
