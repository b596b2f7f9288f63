"""What a compressed batch of a topic may inflate to.

Whoever may write to a topic can write 64 KB that inflate to a gigabyte, and aiokafka inflates whatever comes. It has no
setting for that, so its four functions are replaced, for the whole process, by ones that stop at a limit: such a batch
then counts as damaged. Until they stop they use no more memory than the limit.
"""

from __future__ import annotations

import struct
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import cramjam
import numpy as np
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_LIMIT = 16 << 20
"""Bytes that any batch may inflate to, however small our own are."""
_KEPT = 4 << 20
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16


class _Inflater:
    """One buffer for all batches: memory that is touched once needs no clearing again."""

    def __init__(self) -> None:
        self.limit = LEAST_LIMIT
        self._room: np.ndarray[Any, np.dtype[np.uint8]] | None = None

    def __call__(self, inflate: Callable[[bytes, Any], int], payload: bytes) -> bytes:
        room, self._room = self._room, None
        if room is None or room.size < self.limit:
            room = np.empty(self.limit, np.uint8)
        try:
            size = inflate(bytes(payload), room)
        except (cramjam.DecompressionError, struct.error, ValueError):
            raise CorruptRecordException("a batch doesn't inflate, or to more than is allowed") from None
        if size <= _KEPT:
            self._room = room
        return room[:size].tobytes()


def _snappy(payload: bytes, room: Any) -> int:
    """Raw, or in the blocks that Java's library makes: each with its length in front."""
    if len(payload) < _XERIAL_HEADER or not payload.startswith(_XERIAL):
        return int(cramjam.snappy.decompress_raw_into(payload, room))
    size, at = 0, _XERIAL_HEADER
    while at < len(payload):
        (length,) = struct.unpack_from(">I", payload, at)
        at += 4
        if length > len(payload) - at:
            raise ValueError("a block that ends outside")
        size += int(cramjam.snappy.decompress_raw_into(payload[at : at + length], room[size:]))
        at += length
    return size


_inflater = _Inflater()
_REPLACED = {
    "gzip_decode": partial(_inflater, cramjam.gzip.decompress_into),
    "snappy_decode": partial(_inflater, _snappy),
    "lz4_decode": partial(_inflater, cramjam.lz4.decompress_into),
    "zstd_decode": partial(_inflater, cramjam.zstd.decompress_into),
}


def bound(limit: int) -> None:
    """From now on a batch that inflates to more than `limit` bytes is refused; the largest limit given counts."""
    _inflater.limit = max(_inflater.limit, limit)
    for batch in (DefaultRecordBatch, LegacyRecordBatch):
        module = sys.modules[batch.__module__]
        for name, function in _REPLACED.items():
            if hasattr(module, name):
                setattr(module, name, function)
