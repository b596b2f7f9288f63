"""OTLP over HTTP: protobuf bodies through aiohttp, and its status codes by OTLP's table."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from collector.api import RejectedExportError, RetryableExportError, Signal, client_context
from exporters.otlp.reply import MAX_REPLY, retry_after_ns
from exporters.otlp.sender import DeniedError, compress

if TYPE_CHECKING:
    from exporters.otlp.options import OtlpOptions

_MOST_ANSWERS = 16
_RETRYABLE = frozenset({429, 502, 503, 504})
_DENIED = frozenset({401, 403, 404, 405, 407, 415, 501})


class _Handler(ResponseHandler):
    """aiohttp's, but for a backend that goes on with interim answers (1xx): aiohttp would keep them all until the
    timeout, at a hundred times their size.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._buffer) > _MOST_ANSWERS:
            self.close()


class HttpSender:
    """A pool of connections to one backend."""

    def __init__(self, options: OtlpOptions) -> None:
        self._options = options
        self._urls = {signal: _url(options, signal) for signal in Signal}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; it connects when the first request is sent."""
        options = self._options
        headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        headers |= {"Content-Type": "application/x-protobuf", "Accept-Encoding": "identity"}
        if options.compression != "none":
            headers["Content-Encoding"] = options.compression
        secure = any(options.secure(signal) for signal in Signal)
        context = await asyncio.to_thread(client_context, options.tls) if secure else False
        connector = aiohttp.TCPConnector(ssl=context, limit=options.sending_queue.num_consumers)
        handlers: Any = partial(_Handler, loop=asyncio.get_running_loop())
        connector._factory = handlers  # noqa: SLF001 - there is no other way in
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=options.timeout / 1e9),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, payload: bytes, signal: Signal) -> bytes:
        """One POST. Redirects are not followed."""
        if self._session is None:
            raise RetryableExportError("the exporter is not started")
        coding = self._options.compression
        body = payload if coding == "none" else await compress(payload, coding)
        name = self._options.tls.server_name_override or None
        try:
            async with self._session.post(
                self._urls[signal], data=body, allow_redirects=False, server_hostname=name
            ) as response:
                if response.status // 100 == 2:
                    return await _read_bounded(response)
                refusal = _refusal(response.status, response.headers.get("Retry-After"))
                response.close()  # whatever its body is, it is not read
        except aiohttp.ClientConnectorCertificateError:
            raise RetryableExportError("the backend's certificate is not trusted") from None
        except aiohttp.ClientConnectorSSLError:
            raise RetryableExportError("the TLS handshake with the backend fails") from None
        except aiohttp.ClientConnectorError:
            raise RetryableExportError("the backend can't be reached") from None
        except aiohttp.ClientError:
            raise RetryableExportError("the backend ended the connection") from None
        raise refusal


def _url(options: OtlpOptions, signal: Signal) -> str:
    target = options.target(signal)
    path = target.path if options.own_endpoint(signal) else f"{target.path}/v1/{signal.value}"
    return f"{'https' if options.secure(signal) else 'http'}://{target.authority}{path}"


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, or nothing when it is longer than a reply can be; then the connection is given up."""
    parts = []
    size = 0
    async for chunk in response.content.iter_chunked(MAX_REPLY):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_REPLY:
            response.close()
            return b""
    return b"".join(parts)


def _refusal(status: int, retry_after: str | None) -> Exception:
    reason = f"the backend answers HTTP {status}"
    wish = retry_after_ns(retry_after)
    if status in _RETRYABLE:
        return RetryableExportError(reason, wish)
    if status in _DENIED or status // 100 in {1, 3}:
        return DeniedError(reason, wish)
    return RejectedExportError(reason)
