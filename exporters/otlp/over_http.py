"""OTLP over HTTP: protobuf bodies, and its status codes by OTLP's table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from collector.api import RejectedExportError, RetryableExportError, Signal, client_context
from exporters.http_post import HttpPoster
from exporters.otlp.reply import MAX_REPLY, retry_after_ns
from exporters.otlp.sender import DeniedError, compress

if TYPE_CHECKING:
    from exporters.otlp.options import OtlpOptions

_RETRYABLE = frozenset({429, 502, 503, 504})
_DENIED = frozenset({401, 403, 404, 405, 407, 415, 501})


class HttpSender:
    """A pool of connections to one backend."""

    def __init__(self, options: OtlpOptions) -> None:
        self._options = options
        self._urls = {signal: _url(options, signal) for signal in Signal}
        self._poster: HttpPoster | None = None

    async def start(self) -> None:
        """Open the pool; it connects when the first request is sent."""
        options = self._options
        headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        headers |= {"Content-Type": "application/x-protobuf", "Accept-Encoding": "identity"}
        if options.compression != "none":
            headers["Content-Encoding"] = options.compression
        secure = any(options.secure(signal) for signal in Signal)
        self._poster = HttpPoster(
            headers,
            tls=await asyncio.to_thread(client_context, options.tls) if secure else None,
            server_name=options.tls.server_name_override,
            connections=options.sending_queue.num_consumers,
            timeout_s=options.timeout / 1e9,
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    async def send(self, payload: bytes, signal: Signal) -> bytes:
        """One POST. Redirects are not followed."""
        if self._poster is None:
            raise RetryableExportError("the exporter is not started")
        coding = self._options.compression
        body = payload if coding == "none" else await compress(payload, coding)
        answer = await self._poster.post(self._urls[signal], body, read=MAX_REPLY)
        if answer.status // 100 == 2:
            return answer.body
        raise _refusal(answer.status, answer.retry_after)


def _url(options: OtlpOptions, signal: Signal) -> str:
    target = options.target(signal)
    path = target.path if options.own_endpoint(signal) else f"{target.path}/v1/{signal.value}"
    return f"{'https' if options.secure(signal) else 'http'}://{target.authority}{path}"


def _refusal(status: int, retry_after: str | None) -> Exception:
    reason = f"the backend answers HTTP {status}"
    wish = retry_after_ns(retry_after)
    if status in _RETRYABLE:
        return RetryableExportError(reason, wish)
    if status in _DENIED or status // 100 in {1, 3}:
        return DeniedError(reason, wish)
    return RejectedExportError(reason)
