"""Reading rows from a SQLite file without trusting SQLite's structures, after damage or a crash.

SQLite's own recovery ends at the first damaged frame of the write-ahead log, and one bad byte in an inner page hides
every row below it. Here each page is looked through for rows by their magic, and a row counts when its own checksums
hold, whatever became of the tree around it. Formats: sqlite.org/fileformat2.html, sections 1.5 (cells, overflow pages)
and 4.1 (frames).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collector.connectors.disk.files import PAGE_SIZE
from collector.connectors.disk.rows import (
    DamagedError,
    Kind,
    Row,
    claim,
    decode,
    footer_claim,
    footer_magic,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from collector.connectors.disk.files import LogFile

_WAL_HEADER = 32
_FRAME_HEADER = 24
_WINDOW = 256
"""Pages looked at in one read."""
_MAX_LOCAL = PAGE_SIZE - 35
_MIN_LOCAL = (PAGE_SIZE - 12) * 32 // 255 - 23

_View = tuple[dict[int, int], bool]
"""Where pages are looked for: offsets in the write-ahead log, and whether in the main file where it has none."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row begins: which of the two files, and the byte."""

    offset: int
    size: int
    in_wal: bool


class _Pages:
    """One of the two files as numbered units of a page each."""

    def __init__(self, path: Path, first: int, stride: int) -> None:
        self._first = first
        self._stride = stride
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def windows(self) -> Iterator[tuple[int, bytes]]:
        """(offset in the file, bytes), whole units at a time; what can't be read is left out."""
        step = self._stride * _WINDOW
        start = self._first
        while start < self.size:
            data = self.read(start, min(step, self.size - start))
            if data:
                yield start, data
            else:
                yield from self._unit_by_unit(start, min(start + step, self.size))
            start += step

    def _unit_by_unit(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for offset in range(start, end, self._stride):
            data = self.read(offset, self._stride)
            if data:
                yield offset, data

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file; fewer or none where it ends or the medium fails."""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError:
            return b""

    def place_in_page(self, offset: int) -> int:
        """How far into its page the byte at `offset` is; negative in a frame's header."""
        return (offset - self._first) % self._stride - (self._stride - PAGE_SIZE)

    def close(self) -> None:
        os.close(self._descriptor)


class Salvage:
    """The rows of one damaged or unclean file. Owns descriptors until `close`. For one thread at a time.

    Raises `OSError` where a file is there and can't be opened now: what it holds is not lost then.

    `claimed` has the (kind, number) of every row that was committed, as far as one can tell; `marks` every sound copy
    of a mark, old ones included, since marks are the only rows that are written over.
    """

    def __init__(self, file: LogFile) -> None:
        self._magic = file.magic
        self._footer = footer_magic(file.magic)
        self._main = _open(file.path, 0, PAGE_SIZE)
        self._wal: _Pages | None = None
        try:
            self._wal = _open(file.wal, _WAL_HEADER, PAGE_SIZE + _FRAME_HEADER)
        except OSError:
            self.close()
            raise
        self._committed_to = 0
        self._frames, self._stale_frames = self._index_frames()
        self._places: dict[tuple[int, int], _Place] = {}
        self.marks: list[Row] = []
        self.claimed: set[tuple[int, int]] = set()
        for pages in (self._wal, self._main):
            if pages is not None:
                self._search(pages)

    def keys(self) -> list[tuple[int, int]]:
        """(kind, number) of every readable row, in order."""
        return sorted(self._places)

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._places

    def row(self, key: tuple[int, int]) -> Row:
        """The row of `key`. Raises `DamagedError`, also for one that isn't there."""
        place = self._places.get(key)
        row = None if place is None else self._row(place)
        if row is None:
            raise DamagedError
        return row

    def close(self) -> None:
        """Give the descriptors back."""
        for pages in (self._wal, self._main):
            if pages is not None:
                pages.close()
        self._wal = self._main = None

    def _index_frames(self) -> tuple[dict[int, int], dict[int, int]]:
        """Page number -> offset of its newest content in the write-ahead log; then the same of older generations.

        A log that was checkpointed is written anew from its beginning under another salt, over what it had.
        """
        newer: dict[int, int] = {}
        older: dict[int, int] = {}
        if self._wal is None:
            return newer, older
        salts = self._wal.read(16, 8)
        stride = PAGE_SIZE + _FRAME_HEADER
        for start, window in self._wal.windows():
            for at in range(0, len(window) - stride + 1, stride):
                frames = newer if window[at + 8 : at + 16] == salts else older
                frames[int.from_bytes(window[at : at + 4], "big")] = start + at + _FRAME_HEADER
                if any(window[at + 4 : at + 8]):  # the last frame of a transaction
                    self._committed_to = start + at + stride
        return newer, older

    def _search(self, pages: _Pages) -> None:
        in_wal = pages is self._wal
        for start, window in pages.windows():
            at = window.find(self._magic)
            while at >= 0:
                known = claim(self._magic, window, at)
                if known is not None:
                    if not in_wal or start + at < self._committed_to:
                        self.claimed.add((known.kind, known.number))
                    self._keep((known.kind, known.number), _Place(start + at, known.size, in_wal=in_wal))
                at = window.find(self._magic, at + 1)
            at = window.find(self._footer)
            while at >= 0:
                ended = footer_claim(self._magic, window, at)
                if ended is not None and (not in_wal or start + at < self._committed_to):
                    self.claimed.add(ended)
                at = window.find(self._footer, at + 1)

    def _keep(self, key: tuple[int, int], place: _Place) -> None:
        # A leaf page is in the write-ahead log once for each commit that touched it: the first sound copy will do.
        if key[0] == Kind.MARK:
            row = self._row(place)
            if row is not None:
                self.marks.append(row)
        elif key not in self._places and self._row(place) is not None:
            self._places[key] = place

    def _row(self, place: _Place) -> Row | None:
        # Where a page is in several places, the row's checksum says which of them was meant.
        views: tuple[_View, ...] = (
            (self._frames, True),
            ({}, True),
            (self._stale_frames | self._frames, True),
            (self._frames | self._stale_frames, False),
        )
        for view in views:
            try:
                return decode(self._magic, self._gather(place, view))
            except DamagedError:
                continue
        return None

    def _gather(self, place: _Place, view: _View) -> bytes:
        """The row's bytes: those in its leaf page, then along the chain of overflow pages."""
        pages = self._wal if place.in_wal else self._main
        header = 2 + _varint_size(2 * place.size + 12)  # SQLite's own: its size, NULL for the key, the blob's type
        local = _local_size(header + place.size) - header
        link_size = 4 if local < place.size else 0
        if pages is None or not 0 <= pages.place_in_page(place.offset) <= PAGE_SIZE - local - link_size:
            raise DamagedError
        data = pages.read(place.offset, local + link_size)
        if not link_size:
            return data
        parts, left, link = [data[:local]], place.size - local, data[local:]
        while left > 0:
            page = self._page(int.from_bytes(link, "big"), view)
            parts.append(page[4 : 4 + left])
            left -= len(parts[-1])
            link = page[:4]
        return b"".join(parts)

    def _page(self, number: int, view: _View) -> bytes:
        """One page by its number. Raises `DamagedError`; gives a whole page otherwise, so that every chain ends."""
        frames, with_main = view
        offset = frames.get(number)
        page = b""
        if offset is not None and self._wal is not None:
            page = self._wal.read(offset, PAGE_SIZE)
        elif with_main and self._main is not None and number > 0:
            page = self._main.read((number - 1) * PAGE_SIZE, PAGE_SIZE)
        if len(page) != PAGE_SIZE:
            raise DamagedError
        return page


def _open(path: Path, first: int, stride: int) -> _Pages | None:
    try:
        return _Pages(path, first, stride)
    except FileNotFoundError:
        return None


def _varint_size(value: int) -> int:
    size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


def _local_size(payload: int) -> int:
    """How much of a cell of `payload` bytes stays in its leaf page."""
    if payload <= _MAX_LOCAL:
        return payload
    local = _MIN_LOCAL + (payload - _MIN_LOCAL) % (PAGE_SIZE - 4)
    return local if local <= _MAX_LOCAL else _MIN_LOCAL
