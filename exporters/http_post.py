"""POSTs to one backend through aiohttp, with bounds on what it may answer; what its answers mean is the caller's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from collector.api import RetryableExportError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_MOST_ANSWERS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is empty where it wasn't asked for, or is longer than was asked for. `retry_after` is as it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> str | None:
        """The header `Retry-After`."""
        return self.headers.get("Retry-After")


class HttpPoster:
    """A pool of connections. `server_name` is expected in the certificate instead of the URL's host, unless empty."""

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None,
        server_name: str = "",
        connections: int,
        timeout_s: float,
    ) -> None:
        """Must be called on the event loop. It connects when the first request is sent."""
        self._server_name = server_name or None
        connector = aiohttp.TCPConnector(ssl=False if tls is None else tls, limit=connections)
        handlers: Any = partial(_Handler, loop=asyncio.get_running_loop())
        connector._factory = handlers  # noqa: SLF001 - there is no other way in
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def post(
        self, url: str, body: bytes, *, read: int, read_refusals: bool = False, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One POST; redirects are not followed. Of a 2xx body `read` bytes at the most are read, and of any other one
        too with `read_refusals`; else the connection is given up instead.

        Raises `RetryableExportError` where there is no answer, and `TimeoutError`.
        """
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, server_hostname=self._server_name
            ) as response:
                status = response.status
                if status // 100 == 2 or read_refusals:
                    content = await _read_bounded(response, read)
                else:
                    content = b""
                    response.close()
                return Answer(status, response.headers, content)
        except aiohttp.ClientConnectorCertificateError:
            raise RetryableExportError("the backend's certificate is not trusted") from None
        except aiohttp.ClientConnectorSSLError:
            raise RetryableExportError("the TLS handshake with the backend fails") from None
        except aiohttp.ClientConnectorError:
            raise RetryableExportError("the backend can't be reached") from None
        except aiohttp.ClientError:
            raise RetryableExportError("the backend ended the connection") from None


class _Handler(ResponseHandler):
    """aiohttp's, but for a backend that goes on with interim answers (1xx): aiohttp would keep them all until the
    timeout, at a hundred times their size.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._buffer) > _MOST_ANSWERS:
            self.close()


async def _read_bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body, or nothing when it is longer than `most`; then the connection is given up."""
    parts = []
    size = 0
    async for chunk in response.content.iter_chunked(most):
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            response.close()
            return b""
    return b"".join(parts)
