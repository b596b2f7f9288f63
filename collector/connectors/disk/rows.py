"""The self-checking row: what every cell of every file holds, so that damage is found and never mistaken for data.

A row is `header | tenant | body | footer`. The header has a checksum of itself and one of what follows; the footer
repeats which row it was, so that a row whose header is destroyed is still known to have existed. Both begin with the
file's own random magic (it is part of the file's name): `salvage` finds rows by it without SQLite's help, and nobody
who sends telemetry can forge a row, because nobody outside knows the magic.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from isal.isal_zlib import crc32

# magic, kind, codec, signal, count, number, time_ns, raw size, body size, tenant size, checksum of tenant and body
_HEADER = struct.Struct("<8sBBBxIQQQQHxxI")
_FOOTER = struct.Struct("<8sBxxxQ")
_CHECKSUM = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CHECKSUM.size
FOOTER_SIZE = _FOOTER.size + _CHECKSUM.size
MAGIC_SIZE = 8


class Kind(IntEnum):
    """What a row is."""

    RECORD = 1
    MARK = 2
    JOURNAL = 3


class DamagedError(Exception):
    """These bytes are not the row that was written."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` is the position of a record, the sequence number of a journal blob, the slot of a mark.

    `time_ns` is a record's stream time, or the head of a journal blob; `raw_size` is the size of `body` before
    compression with `codec`.
    """

    kind: Kind
    number: int
    time_ns: int
    count: int
    body: bytes | memoryview
    raw_size: int
    codec: int = 0
    signal: int = 0
    tenant: bytes = b""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an intact header says: which row, and the size of the whole of it."""

    kind: int
    number: int
    size: int


def footer_magic(magic: bytes) -> bytes:
    """The magic that footers begin with, in a file whose headers begin with `magic`."""
    return bytes(byte ^ 0xFF for byte in magic)


def encode(magic: bytes, row: Row) -> bytes:
    """The bytes of `row` in the file of `magic`."""
    header = _HEADER.pack(
        magic,
        row.kind,
        row.codec,
        row.signal,
        row.count,
        row.number,
        row.time_ns,
        row.raw_size,
        len(row.body),
        len(row.tenant),
        crc32(row.body, crc32(row.tenant)),
    )
    footer = _FOOTER.pack(footer_magic(magic), row.kind, row.number)
    return b"".join(
        (
            header,
            _CHECKSUM.pack(crc32(header)),
            row.tenant,
            row.body,
            footer,
            _CHECKSUM.pack(crc32(footer)),
        )
    )


def claim(magic: bytes, data: bytes | memoryview, offset: int = 0) -> Claim | None:
    """What the header at `offset` says, or None when it is damaged. The rest of the row need not be in `data`."""
    end = offset + _HEADER.size
    if len(data) < end + _CHECKSUM.size or data[offset : offset + MAGIC_SIZE] != magic:
        return None
    if _CHECKSUM.unpack_from(data, end)[0] != crc32(data[offset:end]):
        return None
    _, kind, _, _, _, number, _, _, body_size, tenant_size, _ = _HEADER.unpack_from(data, offset)
    return Claim(kind, number, HEADER_SIZE + tenant_size + body_size + FOOTER_SIZE)


def footer_claim(magic: bytes, data: bytes | memoryview, offset: int) -> tuple[int, int] | None:
    """(kind, number) of the footer at `offset`, or None when it is damaged."""
    end = offset + _FOOTER.size
    if len(data) < end + _CHECKSUM.size or _CHECKSUM.unpack_from(data, end)[0] != crc32(data[offset:end]):
        return None
    found, kind, number = _FOOTER.unpack_from(data, offset)
    return (kind, number) if found == footer_magic(magic) else None


def decode(magic: bytes, data: bytes) -> Row:
    """The row in `data`; its body is a view. Raises `DamagedError`."""
    known = claim(magic, data)
    if known is None or known.size != len(data):
        raise DamagedError
    _, kind, codec, signal, count, number, time_ns, raw_size, body_size, tenant_size, checksum = _HEADER.unpack_from(
        data
    )
    view = memoryview(data)[HEADER_SIZE : HEADER_SIZE + tenant_size + body_size]
    if crc32(view) != checksum:
        raise DamagedError
    return Row(
        Kind(kind),
        number,
        time_ns,
        count,
        view[tenant_size:],
        raw_size,
        codec,
        signal,
        bytes(view[:tenant_size]),
    )
