"""What a transport must do, and the refusals that the transports share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import zstandard
from isal import igzip

from collector.api import RetryableExportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.api import Signal

IN_THREAD = 128 << 10
"""Payloads from this many bytes on are compressed in a thread, so that the event loop goes on meanwhile."""


class Sender(Protocol):
    """One request in, the bytes of its answer out."""

    async def start(self) -> None:
        """Open what is needed, without waiting for the backend. Raises `ConfigError` for unreadable files."""

    async def stop(self) -> None:
        """Close. Does nothing when it was not started."""

    async def send(self, payload: bytes, signal: Signal) -> bytes:
        """Send one OTLP request of `signal`. Raises `RetryableExportError` or `RejectedExportError`."""


class DeniedError(RetryableExportError):
    """The backend refuses the sender and not the data: credentials, path, method. The data waits for a
    repair.
    """


def _gzip(payload: bytes) -> bytes:
    # Deterministic: without a time in its header the same payload gives the same bytes.
    return igzip.compress(payload, 1, mtime=0)


def _zstd(payload: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(payload)


_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "zstd": _zstd}


async def compress(payload: bytes, coding: str) -> bytes:
    """`payload` in the content coding `gzip` (isal, level 1) or `zstd` (level 1)."""
    compressor = _COMPRESSORS[coding]
    if len(payload) < IN_THREAD:
        return compressor(payload)
    return await asyncio.to_thread(compressor, payload)
