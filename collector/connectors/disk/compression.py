"""How record bodies are compressed. The codec's number is in every row, so the option may change between lives."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import zstandard
from isal import igzip_lib

from collector.connectors.disk.rows import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable

Compression = Literal["none", "gzip", "zstd"]

NONE, DEFLATE, ZSTD = 0, 1, 2

_per_thread = threading.local()


def _zstd(body: bytes) -> bytes:
    compressor = getattr(_per_thread, "compressor", None)
    if compressor is None:
        compressor = _per_thread.compressor = zstandard.ZstdCompressor(level=1, write_content_size=False)
    return compressor.compress(body)


def _unzstd(body: memoryview, size: int) -> bytes:
    decompressor = getattr(_per_thread, "decompressor", None)
    if decompressor is None:
        decompressor = _per_thread.decompressor = zstandard.ZstdDecompressor()
    return decompressor.decompress(body, max_output_size=size)


def _deflate(body: bytes) -> bytes:
    return igzip_lib.compress(body, 1, igzip_lib.COMP_DEFLATE)


_ENCODERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {"gzip": (DEFLATE, _deflate), "zstd": (ZSTD, _zstd)}


def compress(body: bytes, compression: Compression) -> tuple[bytes, int]:
    """`body` as it is stored, and the codec's number. What doesn't get smaller is stored as it is."""
    if compression == "none":
        return body, NONE
    codec, encoder = _ENCODERS[compression]
    packed = encoder(body)
    return (packed, codec) if len(packed) < len(body) else (body, NONE)


def expand(body: bytes | memoryview, codec: int, size: int) -> bytes:
    """The `size` bytes that `body` was made of. Raises `DamagedError` when it can't be."""
    if codec == NONE:
        return bytes(body)
    try:
        if codec == DEFLATE:
            raw = igzip_lib.decompress(body, igzip_lib.DECOMP_DEFLATE, 15, max(size, 1))
        elif codec == ZSTD:
            raw = _unzstd(memoryview(body), size) if size else b""
        else:
            raise DamagedError
    except (igzip_lib.IsalError, zstandard.ZstdError, ValueError) as error:  # type: ignore[misc] # isal's stub is wrong
        raise DamagedError from error
    if len(raw) != size:
        raise DamagedError
    return raw
