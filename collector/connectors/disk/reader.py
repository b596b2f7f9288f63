"""Reading records back from segments: from SQLite where all is well, by `Salvage` where it isn't. One thread's."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from collector.batch import ANONYMOUS, Context, Signal
from collector.component.connector import Record
from collector.connectors.disk import files
from collector.connectors.disk.compression import expand
from collector.connectors.disk.rows import DamagedError, Kind, decode
from collector.connectors.disk.salvage import Salvage
from collector.connectors.disk.segments import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from collector.connectors.disk.rows import Row
    from collector.connectors.disk.segments import Segment

_READER_CACHE = 256 << 10
_OPEN_FILES = 4
_SIGNALS = tuple(Signal(word) for word in SIGNALS)

# Called with the positions of records that are lost.
Lost = "Callable[[Sequence[int]], None]"


class _Salvaged:
    """A salvage of one segment, and the position up to which its losses have been reported."""

    def __init__(self, segment: Segment, known: int) -> None:
        self.salvage = Salvage(segment.file)
        self.known = known


class SegmentReader:
    """Reads records by position. `lost` is told once of each position that can't be read."""

    def __init__(self, lost: Callable[[Sequence[int]], None]) -> None:
        self._lost = lost
        self._connections: dict[int, sqlite3.Connection] = {}
        self._salvaged: dict[int, _Salvaged] = {}

    def read(self, segments: Sequence[Segment], position: int, stop: int, max_bytes: int) -> tuple[list[Record], int]:
        """Records from `position` to before `stop`, as `Partition.read`, and where to read on.

        `segments` hold positions from the first one's base to `stop`, without a gap. Raises `OSError` when a file can't
        be opened now (no descriptor is free, say); nothing is given up as lost then.
        """
        records: list[Record] = []
        room = max_bytes
        for segment in segments:
            end = stop if segment.end is None else min(segment.end, stop)
            if position >= end:
                continue
            for record in self._records(segment, max(position, segment.base), end):
                if records and len(record.payload) > room:
                    return records, record.position
                records.append(record)
                room -= len(record.payload)
                position = record.position + 1
                if room <= 0:
                    return records, position
            position = end
        return records, position

    def forget(self, segment: Segment) -> None:
        """Delete a segment that nobody will read again. Raises `OSError`."""
        try:
            segment.file.unlink()
        finally:
            self._close(segment.base)
            if segment.writer is not None:
                segment.writer.close()
                segment.writer = None

    def close(self) -> None:
        """Close every file."""
        for base in [*self._connections, *self._salvaged]:
            self._close(base)

    def _close(self, base: int) -> None:
        connection = self._connections.pop(base, None)
        if connection is not None:
            connection.close()
        salvaged = self._salvaged.pop(base, None)
        if salvaged is not None:
            salvaged.salvage.close()

    def _records(self, segment: Segment, position: int, end: int) -> Iterator[Record]:
        if not segment.raw:
            try:
                for record in self._by_sqlite(segment, position, end):
                    yield record
                    position = record.position + 1
            except (sqlite3.Error, DamagedError):
                self._salvage(segment, end)  # where the file can't even be opened, SQLite may well read it later
                segment.raw = True
        if position < end:
            yield from self._by_salvage(segment, position, end)

    def _by_sqlite(self, segment: Segment, position: int, end: int) -> Iterator[Record]:
        """Raises `DamagedError` or `sqlite3.Error` at the first thing that isn't as it was written."""
        rows = self._connection(segment).execute(
            "SELECT number, data FROM rows WHERE number >= ? AND number < ? ORDER BY number", (position, end)
        )
        with contextlib.closing(rows):
            for number, data in rows:
                if number != position or not isinstance(data, bytes):
                    raise DamagedError
                yield _record(decode(segment.file.magic, data), position)
                position += 1
        if position < end:
            raise DamagedError

    def _by_salvage(self, segment: Segment, position: int, end: int) -> Iterator[Record]:
        salvage = self._salvage(segment, end)
        for number in range(position, end):
            if (Kind.RECORD, number) not in salvage:
                continue
            try:
                yield _record(salvage.row((Kind.RECORD, number)), number)
            except DamagedError:
                self._lost([number])

    def _salvage(self, segment: Segment, end: int) -> Salvage:
        known = self._salvaged.get(segment.base)
        if known is None or known.known < end:
            begin = segment.base if known is None else known.known
            self._close(segment.base)
            known = self._salvaged[segment.base] = _Salvaged(segment, end)
            missing = [number for number in range(begin, end) if (Kind.RECORD, number) not in known.salvage]
            if missing:
                self._lost(missing)
        return known.salvage

    def _connection(self, segment: Segment) -> sqlite3.Connection:
        connection = self._connections.pop(segment.base, None)
        if connection is None:
            connection = files.connect(segment.file, "normal", cache=_READER_CACHE)
            if len(self._connections) >= _OPEN_FILES:
                self._close(next(iter(self._connections)))
        self._connections[segment.base] = connection  # the last is the most recently used
        return connection


def _record(row: Row, position: int) -> Record:
    if row.kind != Kind.RECORD or row.number != position or row.signal >= len(_SIGNALS):
        raise DamagedError
    return Record(
        position,
        row.time_ns,
        expand(row.body, row.codec, row.raw_size),
        row.count,
        _SIGNALS[row.signal],
        Context(row.tenant.decode()) if row.tenant else ANONYMOUS,
    )
