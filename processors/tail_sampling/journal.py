"""The decision journal's entries: verdicts as fixed-size records behind a header with a checksum."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"BTSV"
_LAYOUT = 1
# magic, layout, policy set, position until which the verdicts are needed, number of entries, checksum of what follows
_HEADER = struct.Struct("<4sIQQII")

ENTRY = np.dtype(
    [("hi", "<u8"), ("lo", "<u8"), ("threshold", "<u8"), ("policy", "<u2"), ("sampled", "u1"), ("spare", "u1", 5)]
)
"""32 bytes, little-endian."""


class DamagedJournalError(ValueError):
    """A journal entry can't be read: its verdicts are lost, and reading on would decide their traces anew."""


def encode(entries: NDArray[Any], version: int, needed_until: int) -> bytes:
    """One blob of `entries` (dtype ENTRY), made by policy set `version`."""
    body = entries.tobytes()
    return _HEADER.pack(_MAGIC, _LAYOUT, version, needed_until, len(entries), crc32(body)) + body


def decode(blob: bytes) -> tuple[NDArray[Any], int, int]:
    """(entries, version, needed_until) of a blob. Raises `DamagedJournalError`."""
    if len(blob) < _HEADER.size:
        raise DamagedJournalError("a decision journal entry is cut short")
    magic, layout, version, needed_until, count, checksum = _HEADER.unpack_from(blob)
    if magic != _MAGIC:
        raise DamagedJournalError("a decision journal entry was not written by tail_sampling")
    if layout != _LAYOUT:
        raise DamagedJournalError(f"a decision journal entry has layout {layout}; this release reads {_LAYOUT}")
    body = blob[_HEADER.size :]
    if len(body) != count * ENTRY.itemsize or crc32(body) != checksum:
        raise DamagedJournalError("a decision journal entry is damaged: its length or its checksum is wrong")
    return np.frombuffer(body, ENTRY), version, needed_until
