"""OTLP over gRPC: raw request bytes through `grpc.aio`, and its statuses by OTLP's table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio

from collector.api import RejectedExportError, RetryableExportError
from exporters.otlp.reply import MAX_REPLY, retry_info_ns
from exporters.otlp.sender import DeniedError
from exporters.otlp.tls import client_context, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporters.otlp.options import OtlpOptions

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_DENIED = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED})


class GrpcSender:
    """A channel to one backend."""

    def __init__(self, options: OtlpOptions) -> None:
        self._options = options
        self._timeout = options.timeout / 1e9
        self._metadata = tuple((name.lower(), value.get_secret_value()) for name, value in options.headers.items())
        self._channel: grpc.aio.Channel | None = None
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] | None = None

    async def start(self) -> None:
        """Open the channel; it connects when the first request is sent."""
        options = self._options
        gzip = options.compression == "gzip"
        compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        authority, arguments = options.target.authority, self._arguments()
        if options.secure:
            credentials = await asyncio.to_thread(self._credentials)
            self._channel = grpc.aio.secure_channel(authority, credentials, arguments, compression)
        else:
            self._channel = grpc.aio.insecure_channel(authority, arguments, compression)
        self._call = self._channel.unary_unary(_METHOD, None, None)

    async def stop(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    async def send(self, payload: bytes) -> bytes:
        """One call of the trace service."""
        if self._call is None:
            raise RetryableExportError("the exporter is not started")
        try:
            return await self._call(payload, timeout=self._timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from None

    def _credentials(self) -> grpc.ChannelCredentials:
        tls = self._options.tls
        client_context(tls)  # grpc itself would say nothing of an unusable file until it connects
        return grpc.ssl_channel_credentials(
            read_file(tls.ca_file, "ca_file"),
            read_file(tls.key_file, "key_file"),
            read_file(tls.cert_file, "cert_file"),
        )

    def _arguments(self) -> list[tuple[str, int | str]]:
        arguments: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", MAX_REPLY),
            ("grpc.max_metadata_size", MAX_REPLY),
            ("grpc.enable_retries", 0),  # the queue retries, and counts
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.use_local_subchannel_pool", 1),
            # A backend that comes back is found within seconds; grpc's own limit is two minutes.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 3000),
        ]
        if self._options.tls.server_name_override:
            arguments.append(("grpc.ssl_target_name_override", self._options.tls.server_name_override))
        keepalive = self._options.keepalive
        if keepalive is not None:
            arguments += [
                ("grpc.keepalive_time_ms", keepalive.time // 10**6),
                ("grpc.keepalive_timeout_ms", max(1, keepalive.timeout // 10**6)),
                ("grpc.keepalive_permit_without_calls", int(keepalive.permit_without_stream)),
                ("grpc.http2.max_pings_without_data", 0),
            ]
        return arguments


def _refusal(error: grpc.aio.AioRpcError) -> Exception:
    """The status as OTLP's table reads it. Its text is the backend's and goes nowhere."""
    code = error.code()
    reason = f"the backend answers {code.name}"
    wish = None
    trailing = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for name, value in trailing:
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            wish = retry_info_ns(value)
    if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wish is not None):
        return RetryableExportError(reason, wish)
    if code in _DENIED:
        return DeniedError(reason, wish)
    return RejectedExportError(reason)
