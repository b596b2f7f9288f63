"""The connection to Loki: compresses, posts, and says what the answer means."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import cramjam

from collector.api import RetryableExportError, client_context
from exporters.http_post import HttpPoster
from exporters.loki.answers import MAX_REPLY, Verdict, verdict
from exporters.otlp.sender import IN_THREAD, compress

if TYPE_CHECKING:
    from exporters.loki.options import LokiOptions


class LokiClient:
    """One connection at a time to `options.url`."""

    def __init__(self, options: LokiOptions) -> None:
        self._options = options
        self._otlp = options.format == "otlp"
        self._poster: HttpPoster | None = None

    async def start(self) -> None:
        """Read the TLS files; the first request connects. Raises `ConfigError` for a file that can't be used."""
        options = self._options
        headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        headers["Content-Type"] = "application/x-protobuf"
        headers["Content-Encoding"] = "gzip" if self._otlp else "snappy"
        headers["Accept-Encoding"] = "identity"
        if options.tenant_id:
            headers["X-Scope-OrgID"] = options.tenant_id
        self._poster = HttpPoster(
            headers,
            tls=await asyncio.to_thread(client_context, options.tls) if options.secure else None,
            server_name=options.tls.server_name_override,
            connections=1,
            timeout_s=options.timeout / 1e9,
        )

    async def stop(self) -> None:
        """Close the connection."""
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    async def push(self, body: bytes) -> Verdict:
        """Send one request, once. Raises `RetryableExportError` where there is no answer."""
        if self._poster is None:
            raise RetryableExportError("the exporter is not started")
        content = await (compress(body, "gzip") if self._otlp else _snappy(body))
        try:
            answer = await self._poster.post(self._options.url, content, read=MAX_REPLY, read_refusals=True)
        except TimeoutError:
            raise RetryableExportError("the backend does not answer in time") from None
        return verdict(answer, otlp=self._otlp)


def _compress(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


async def _snappy(body: bytes) -> bytes:
    """Snappy's block format."""
    return _compress(body) if len(body) < IN_THREAD else await asyncio.to_thread(_compress, body)
