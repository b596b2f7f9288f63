"""`OtlpExporter`: sends batches to an OTLP backend as the bytes they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from collector.api import BuildContext, Exporter, Signal
from exporters.otlp.options import OtlpOptions
from exporters.otlp.over_h2 import GrpcSender
from exporters.otlp.over_http import HttpSender
from exporters.otlp.reply import rejected_items
from exporters.otlp.sender import DeniedError

if TYPE_CHECKING:
    from collector.api import Batch
    from exporters.otlp.sender import Sender

_SAY_AGAIN_S = 60.0


class OtlpExporter(Exporter):
    """OTLP out. See `docs/components/otlp_exporter.md`."""

    Config = OtlpOptions

    def __init__(self, config: OtlpOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        self._sender: Sender = HttpSender(config) if config.protocol == "http" else GrpcSender(config)
        self._said = float("-inf")

    @classmethod
    def problems(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Combinations that can't work, or that would send in the clear what was to be encrypted."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        tls, http = config.tls, config.protocol == "http"
        if tls.configured and not any(config.secure(signal) for signal in Signal):
            found.append((("tls",), "the endpoint is plaintext, but TLS is configured: use https:// or remove one"))
        if bool(tls.cert_file) != bool(tls.key_file):
            found.append((("tls",), "cert_file and key_file go together"))
        if not http and tls.insecure_skip_verify:
            found.append((("tls", "insecure_skip_verify"), "works with protocol http only; for grpc name the ca_file"))
        if not http and config.compression == "zstd":
            found.append((("compression",), "zstd works with protocol http only; use gzip or none"))
        own = [signal for signal in Signal if config.own_endpoint(signal)]
        for signal in own:
            if not http:
                found.append(((f"{signal.value}_endpoint",), "works with protocol http only"))
            elif not config.target(signal).scheme:
                found.append(((f"{signal.value}_endpoint",), "expected a whole URL"))
        if http and config.keepalive is not None:
            found.append((("keepalive",), "works with protocol grpc only"))
        if not http and not own and config.target(Signal.TRACES).path:
            found.append((("endpoint",), "gRPC has no path: expected host:port"))
        return found

    @classmethod
    def warnings(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Secrets in the clear, or to anybody."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        plain = [signal for signal in Signal if not config.secure(signal)]
        if config.headers and any(not config.target(signal).loopback for signal in plain):
            found.append((("headers",), "headers are sent in plaintext to another machine"))
        if len(plain) < len(Signal) and config.tls.insecure_skip_verify:
            found.append((("tls", "insecure_skip_verify"), "anybody can pose as the backend"))
        return found

    async def start(self) -> None:
        """Open the transport. Raises `ConfigError` when a TLS file can't be used."""
        await self._sender.start()

    async def stop(self) -> None:
        """Close the transport."""
        await self._sender.stop()

    async def export(self, batch: Batch) -> int:
        """Send the batch as one request."""
        try:
            reply = await self._sender.send(batch.to_bytes(), batch.signal)
        except DeniedError as error:
            self._say_denied(error.reason)
            raise
        return rejected_items(reply)

    def _say_denied(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_AGAIN_S:
            self._said = now
            self.context.log.error(
                "%s: check endpoint, headers and credentials; the data is kept and tried again", reason
            )
