"""A reader's state file: committed position and decision journal. One thread's.

Marks are written to two rows in turn, with every transaction, so that one damaged row costs at most one commit.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from collector.connectors.disk import files
from collector.connectors.disk.rows import DamagedError, Kind, Row, decode, encode
from collector.connectors.disk.salvage import Salvage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from collector.connectors.disk.files import LogFile, Synchronous

_MARK = struct.Struct("<QQQQQ")
_SLOTS = 2
_FIRST_SEQUENCE = 16
"""Row numbers below are for marks."""
_CACHE = 1 << 20
_CHECKPOINT_PAGES = 1000
_FEWEST_CHECKPOINT_PAGES = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """What the log knows about itself. `end` and `time_ns` are what they were when it was written."""

    committed: int = 0
    end: int = 0
    time_ns: int = 0
    first: int = _FIRST_SEQUENCE
    """Sequence number of the oldest journal blob that is kept."""
    next: int = _FIRST_SEQUENCE

    def merged(self, other: Mark) -> Mark:
        """The later of each: every one of them only grows."""
        return Mark(*(max(pair) for pair in zip(self._tuple(), other._tuple(), strict=True)))

    def _tuple(self) -> tuple[int, int, int, int, int]:
        return self.committed, self.end, self.time_ns, self.first, self.next

    def pack(self) -> bytes:
        return _MARK.pack(*self._tuple())

    @staticmethod
    def unpack(body: bytes | memoryview) -> Mark:
        """Raises `DamagedError`."""
        if len(body) != _MARK.size:
            raise DamagedError
        return Mark(*_MARK.unpack(body))


@dataclass(frozen=True, slots=True)
class Blob:
    """One entry of the journal."""

    sequence: int
    head: int
    count: int
    body: bytes


@dataclass(slots=True)
class Recovered:
    """What the state files of earlier lives gave. `damaged` when anything in them wasn't as it was written."""

    mark: Mark
    blobs: list[Blob]
    lost_blobs: int
    damaged: bool
    found: bool
    reusable: LogFile | None
    """The file to go on with, where it is whole and holds all of this."""


def nothing(committed: int, end: int, time_ns: int) -> Recovered:
    """The state of a reader that begins at `committed`."""
    return Recovered(Mark(committed, end, time_ns), [], 0, damaged=False, found=False, reusable=None)


def recover(directory: Path) -> Recovered:
    """Read the state of a reader's earlier lives. Raises `OSError`, and `StorageError` for an unknown format."""
    mark, blobs, damaged, marked, current = Mark(), dict[int, Blob](), False, False, True
    found = files.states(directory)
    for file in found:
        rows, sound, all_by_sqlite = _read(file)
        damaged = damaged or not sound
        current = current and sound and all_by_sqlite
        for row in rows:
            with contextlib.suppress(DamagedError):
                if row.kind == Kind.MARK:
                    mark = mark.merged(Mark.unpack(row.body))
                    marked = True
                elif row.kind == Kind.JOURNAL:
                    blobs[row.number] = Blob(row.number, row.time_ns, row.count, bytes(row.body))
    if blobs and not marked:
        mark = replace(mark, first=min(blobs), end=max(blob.head for blob in blobs.values()))
    kept = [blobs[sequence] for sequence in sorted(blobs) if sequence >= mark.first]
    mark = replace(mark, next=max([mark.next, mark.first, *(blob.sequence + 1 for blob in kept)]))
    lost = mark.next - mark.first - len(kept)
    damaged = damaged or lost > 0 or (bool(found) and not marked)
    reusable = found[0] if len(found) == 1 and current and not damaged else None
    return Recovered(mark, kept, lost, damaged, bool(found), reusable)


def _read(file: LogFile) -> tuple[list[Row], bool, bool]:
    """Every row, the most trustworthy last; whether the file is as it was written; whether SQLite sees all of them."""
    # SQLite deletes the write-ahead log when it has recovered what it understood of it: look before it does.
    unclean = file.wal.exists()
    salvaged = _salvaged(file) if unclean else []
    rows, sound = _rows(file)
    if not sound and not unclean:
        salvaged = _salvaged(file)
    keys = {(row.kind, row.number) for row in rows}
    return [*salvaged, *rows], sound, all((row.kind, row.number) in keys for row in salvaged)


def _rows(file: LogFile) -> tuple[list[Row], bool]:
    """Every sound row by SQLite, and whether the file is as it was written."""
    rows, sound = [], True
    try:
        with contextlib.closing(files.connect(file, "off", cache=_CACHE)) as connection:
            for number, data in connection.execute("SELECT number, data FROM rows ORDER BY number"):
                try:
                    row = decode(file.magic, data if isinstance(data, bytes) else b"")
                except DamagedError:
                    sound = False
                    continue
                sound = sound and row.number == number
                rows.append(row)
    except sqlite3.Error:
        sound = False
    marks = [row for row in rows if row.kind == Kind.MARK]
    return rows, sound and len(marks) == _SLOTS and _complete(marks, len(rows) - _SLOTS)


def _complete(marks: list[Row], blobs: int) -> bool:
    newest = Mark()
    for row in marks:
        with contextlib.suppress(DamagedError):
            newest = newest.merged(Mark.unpack(row.body))
    return newest.next - newest.first == blobs


def _salvaged(file: LogFile) -> list[Row]:
    with contextlib.closing(Salvage(file)) as salvage:
        rows = list(salvage.marks)
        for key in salvage.keys():  # noqa: SIM118 - not a mapping
            with contextlib.suppress(DamagedError):
                rows.append(salvage.row(key))
    return rows


class StateFile:
    """The state of this life. Every method that writes raises `sqlite3.Error`; what was there before then still is."""

    def __init__(
        self, file: LogFile, connection: sqlite3.Connection, mark: Mark, blobs: Iterable[Blob], room: int
    ) -> None:
        self._file = file
        self._connection = connection
        self._mark = mark
        self._room = room
        self._kept = deque((blob.sequence, blob.head, blob.count, len(blob.body)) for blob in blobs)
        self._verdicts = sum(count for _, _, count, _ in self._kept)
        self._bytes = sum(size for *_, size in self._kept)
        self._slot = 0

    @staticmethod
    def begin(directory: Path, recovered: Recovered, synchronous: Synchronous, room: int) -> StateFile:
        """Go on with the file there is, or write a new one with what was recovered and remove the old ones.

        Journal blobs that no restart needs take `room` bytes at the most. Raises `OSError`, `sqlite3.Error`.
        """
        if recovered.reusable is not None:
            return StateFile._connect(recovered.reusable, recovered, synchronous, room)
        old = files.states(directory)
        file = files.new_state(directory, old[-1].number + 1 if old else 1)
        draft = replace(file, path=directory / "state.new")
        draft.unlink()
        files.create(draft, synchronous)
        with contextlib.closing(files.connect(draft, "off", cache=_CACHE)) as connection:
            rows = [_mark_row(file, slot, recovered.mark) for slot in range(_SLOTS)]
            rows += [_blob_row(file, blob) for blob in recovered.blobs]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        if synchronous != "off":
            _sync(draft.path)
        os.rename(draft.path, file.path)  # noqa: PTH104 - a file of the same directory
        if synchronous != "off":
            files.sync_directory(directory)
        for stale in old:
            # In this order a crash leaves no write-ahead log without its file, which would look like damage.
            stale.wal.unlink(missing_ok=True)
            stale.unlink()
        return StateFile._connect(file, recovered, synchronous, room)

    @staticmethod
    def _connect(file: LogFile, recovered: Recovered, synchronous: Synchronous, room: int) -> StateFile:
        # The write-ahead log never shrinks, so in a small log it must not become large.
        pages = min(max(room // files.PAGE_SIZE // 2, _FEWEST_CHECKPOINT_PAGES), _CHECKPOINT_PAGES)
        connection = files.connect(file, synchronous, cache=_CACHE, checkpoint_pages=pages)
        return StateFile(file, connection, recovered.mark, recovered.blobs, room)

    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size()

    def commit(self, committed: int, end: int, time_ns: int) -> None:
        """Make a mark durable; positions never go back."""
        self._write(self._mark.merged(Mark(committed, end, time_ns)), None, 0)

    def journal(self, blob: bytes, count: int, head: int, *, keep: int, end: int, time_ns: int) -> None:
        """Make one blob durable and drop what `Partition.journal` allows to be dropped; `end` is the log's."""
        if files.free(self._file.path.parent) < files.ROOM_FOR_COMMITS + len(blob):
            raise sqlite3.OperationalError("the disk has room for commits alone")
        new = Blob(self._mark.next, head, count, blob)
        verdicts, size, drop = self._verdicts + count, self._bytes + len(blob), 0
        for _, old_head, old_count, old_size in self._kept:
            if old_head > self._mark.committed or (verdicts - old_count < keep and size <= self._room):
                break
            verdicts -= old_count
            size -= old_size
            drop += 1
        first = self._kept[drop][0] if drop < len(self._kept) else new.sequence
        mark = self._mark.merged(Mark(0, end, time_ns, first, new.sequence + 1))
        self._write(mark, new, first)
        for _ in range(drop):
            self._kept.popleft()
        self._kept.append((new.sequence, head, count, len(blob)))
        self._verdicts, self._bytes = verdicts, size

    def blobs(self) -> tuple[list[bytes], int]:
        """Every blob that is kept, oldest first, and how many have become unreadable."""
        found: dict[int, bytes] = {}
        with contextlib.suppress(sqlite3.Error):
            for number, data in self._connection.execute(
                "SELECT number, data FROM rows WHERE number >= ? ORDER BY number", (_FIRST_SEQUENCE,)
            ):
                with contextlib.suppress(DamagedError):
                    found[number] = bytes(decode(self._file.magic, data).body)
        return list(found.values()), len(self._kept) - len(found)

    def close(self) -> None:
        """Close the file, leaving nothing in the write-ahead log."""
        self._connection.close()

    def _write(self, mark: Mark, blob: Blob | None, first: int) -> None:
        try:
            self._transact(mark, blob, first)
        except sqlite3.Error:
            # A full disk must not keep the log from saying that some of it may be deleted.
            if not files.release(self._file.path.parent):
                raise
            self._transact(mark, blob, first)

    def _transact(self, mark: Mark, blob: Blob | None, first: int) -> None:
        slot = (self._slot + 1) % _SLOTS
        connection = self._connection
        try:
            if blob is None:
                connection.execute("REPLACE INTO rows VALUES (?, ?)", _mark_row(self._file, slot, mark))
            else:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("REPLACE INTO rows VALUES (?, ?)", _mark_row(self._file, slot, mark))
                connection.execute("INSERT INTO rows VALUES (?, ?)", _blob_row(self._file, blob))
                connection.execute("DELETE FROM rows WHERE number >= ? AND number < ?", (_FIRST_SEQUENCE, first))
                connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        self._mark, self._slot = mark, slot


def _mark_row(file: LogFile, slot: int, mark: Mark) -> tuple[int, bytes]:
    body = mark.pack()
    return slot, encode(file.magic, Row(Kind.MARK, slot, 0, 0, body, len(body)))


def _blob_row(file: LogFile, blob: Blob) -> tuple[int, bytes]:
    row = Row(Kind.JOURNAL, blob.sequence, blob.head, blob.count, blob.body, len(blob.body))
    return blob.sequence, encode(file.magic, row)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
