"""A file of lines that only grows, with no half line in it, ever."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from datetime import UTC, datetime
from glob import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BLOCK = 1 << 16


class LineFile:
    """Appends whole lines to `path`. Not thread-safe; every method may block and may raise `OSError`.

    What a crash left of a half line is cut off when the file is opened; a line that can't be written whole
    is taken back. When `max_bytes` (0: no limit) would be exceeded the file is set aside under a name with
    the time in it, and only the `max_backups` (0: all) newest of those are kept. A file that somebody else
    moved away is made anew.
    """

    def __init__(self, path: Path, *, max_bytes: int = 0, max_backups: int = 0, fsync: bool = False) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._fsync = fsync
        self._file = -1
        self._size = 0

    def open(self) -> None:
        """Create or open the file, for its owner alone, and repair its end."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "not a regular file")
        self._size = _whole_lines(self._file)
        os.ftruncate(self._file, self._size)
        if self._fsync:
            self._sync_name()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def append(self, line: bytes) -> None:
        """Write `line` and a newline. When it returns the line survives this process, with `fsync` also
        the machine.
        """
        self.append_in_pieces(len(line), lambda write: write(line))

    def append_in_pieces(self, size: int, produce: Callable[[Callable[[bytes], None]], object]) -> None:
        """`append` for a line of `size` bytes that need not be in memory as a whole: `produce` is called with a
        function that writes a piece. What it raises is raised, and the line taken back.
        """
        if self._file < 0 or self._moved():
            self.close()
            self.open()
        if self._max_bytes and self._size and self._size + size + 1 > self._max_bytes:
            self._rotate()
        try:
            produce(self._write)
            self._write(b"\n")
            if self._fsync:
                os.fdatasync(self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            self.close()  # the next append opens the file again, and repairs what could not be taken back now
            raise
        self._size += size + 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _moved(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(self._file).st_ino
        except FileNotFoundError:
            return True

    def _rotate(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
        self.close()
        self._path.rename(self._path.with_name(f"{self._path.stem}-{now}{self._path.suffix}"))
        self.open()
        stem, suffix = escape(self._path.stem), escape(self._path.suffix)
        aside = sorted(self._path.parent.glob(f"{stem}-????-??-??T*{suffix}"))
        for old in aside[: -self._max_backups] if self._max_backups else []:
            old.unlink(missing_ok=True)

    def _sync_name(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _whole_lines(file: int) -> int:
    """Where the last whole line of `file` ends."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
