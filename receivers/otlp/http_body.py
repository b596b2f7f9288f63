"""The body of an HTTP request: read and decompressed within a limit, each byte admitted before it is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp.web
from aiohttp.http_exceptions import HttpProcessingError

from receivers.otlp.decompress import DamagedError, steps
from receivers.otlp.service import RETRY_AFTER_NS
from receivers.otlp.transport import Answer, Code, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from collector.api import Permit
    from receivers.otlp.transport import Door

FIRST_GRANT = 64 << 10
"""Bytes that are admitted for a body of unknown length before its first byte is read."""

TOO_LARGE = Answer(Code.RESOURCE_EXHAUSTED, "too_large", "the request is larger than this server takes")
SLOW = Answer(Code.UNAVAILABLE, "slow", "the request's body did not arrive in time", RETRY_AFTER_NS)
UNREAD = Answer(Code.INVALID_ARGUMENT, "unread", "the request's body did not arrive whole")


async def read(
    request: web.BaseRequest, door: Door, permit: Permit, *, granted: int, limit: int, seconds: float
) -> bytes:
    """The body as it came over the wire, `limit` bytes at the most; `granted` are admitted already.

    A sender that asks whether to go on is told so. Raises `RefusedError`; the permit is released whatever is raised.
    """
    chunks: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(seconds):
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            while total <= limit and (chunk := await request.content.readany()):
                total += len(chunk)
                chunks.append(chunk)
                if granted < total <= limit:
                    more = max(total - granted, min(total, limit - granted))
                    granted += more
                    door.grow(permit, more)
    except TimeoutError:
        permit.release()
        raise RefusedError(SLOW) from None
    except (aiohttp.ClientError, aiohttp.web.RequestPayloadError, HttpProcessingError, ConnectionError):
        permit.release()
        raise RefusedError(UNREAD) from None
    except RefusedError:
        raise  # by `grow`, which has released it
    except BaseException:
        permit.release()
        raise
    if total > limit:
        permit.release()
        raise RefusedError(TOO_LARGE)
    return b"".join(chunks)


class Body:
    """The plain body of a request, decompressed in one go or in two. On one thread at a time."""

    def __init__(self, encoding: str, body: bytes, door: Door, permit: Permit, limit: int) -> None:
        self._steps = _steps(encoding, body)
        self._door = door
        self._permit = permit
        self._limit = limit
        self._granted = len(body)
        self._pieces: list[bytes] = []
        self._total = 0

    def read(self, most: int) -> bytes | None:
        """All of it, or None once there is more than `most` bytes: another call goes on from there. Takes time in
        proportion to `most`.

        Raises `RefusedError`, for more than the limit too; the permit is released whatever is raised.
        """
        try:
            for piece in self._steps:
                self._total += len(piece)
                if self._total > self._limit:
                    break
                if self._total > self._granted:
                    more, self._granted = self._total - self._granted, self._total
                    self._door.grow(self._permit, more)
                self._pieces.append(piece)
                if self._total > most:
                    return None
        except DamagedError as damage:
            self._permit.release()
            raise RefusedError(Answer(Code.INVALID_ARGUMENT, "malformed", str(damage))) from None
        except RefusedError:
            raise  # by `grow`, which has released it
        except BaseException:
            self._permit.release()
            raise
        if self._total > self._limit:
            self._permit.release()
            raise RefusedError(TOO_LARGE)
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _steps(encoding: str, body: bytes) -> Iterator[bytes]:
    yield from (body,) if encoding == "identity" else steps(encoding, body)
