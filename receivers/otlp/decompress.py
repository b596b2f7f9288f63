"""Content encodings of HTTP bodies, decompressed in bounded steps.

Whatever the ratio of the compression, one step yields `STEP` bytes at most (zstd: what `_ZSTD_SLICE` bytes
can hold), so a caller that counts stops a bomb within one step. A stream that is cut short, damaged or
followed by junk is an error; members and frames that follow one another are one stream (RFC 1952, RFC 8878),
up to `MAX_MEMBERS` of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import zstandard
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator

ENCODINGS = ("gzip", "zstd", "deflate")
STEP = 256 << 10
MAX_MEMBERS = 1000
_ZLIB_ERROR = cast("type[Exception]", isal_zlib.error)  # its stub declares an instance
_ZSTD_WINDOW = 8 << 20  # RFC 8878 asks decoders for 8 MiB and lets them refuse more
# A zstd block takes 4 bytes at the least and gives 128 KiB at the most: 4 MiB in one step.
_ZSTD_SLICE = 128


class DamagedError(ValueError):
    """The body is not what its content encoding says. The message is safe to show."""


def steps(encoding: str, body: bytes) -> Iterator[bytes]:
    """The plain bytes of `body`, piece by piece. `encoding` is one of `ENCODINGS`. Raises `DamagedError` on
    the way.
    """
    if encoding == "zstd":
        return _zstd(body)
    # 31: gzip with its header; 15: zlib (RFC 9110's "deflate" is the zlib format)
    return _zlib(body, 31 if encoding == "gzip" else 15, many=encoding == "gzip")


def _zlib(body: bytes, wbits: int, *, many: bool) -> Iterator[bytes]:
    for _ in range(MAX_MEMBERS):
        stream = isal_zlib.decompressobj(wbits)
        while not stream.eof:
            try:
                piece = stream.decompress(body, STEP)
            except _ZLIB_ERROR:
                raise DamagedError("the compressed body is damaged") from None
            body = stream.unconsumed_tail
            if piece:
                yield piece
            elif not stream.eof and not body:
                raise DamagedError("the compressed body is cut short")
        body = stream.unused_data
        if not body:
            return
        if not many:
            raise DamagedError("something follows the compressed body")
    raise DamagedError("the compressed body has too many members")


def _zstd(body: bytes) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    view = memoryview(body)
    for _ in range(MAX_MEMBERS):
        stream = decompressor.decompressobj()
        at = 0
        while not stream.eof:
            if at >= len(view):
                raise DamagedError("the compressed body is cut short")
            try:
                piece = stream.decompress(view[at : at + _ZSTD_SLICE])
            except zstandard.ZstdError:
                raise DamagedError("the compressed body is damaged") from None
            at += _ZSTD_SLICE
            if piece:
                yield piece
        view = view[min(at, len(view)) - len(stream.unused_data) :]
        if not len(view):
            return
    raise DamagedError("the compressed body has too many members")
