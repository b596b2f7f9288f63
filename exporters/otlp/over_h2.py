"""OTLP over gRPC, on HTTP/2 connections of our own: messages are sent as they were compressed here.

`grpcio` is not used on this side: it compresses itself, with zlib, and can't be given a compressed message
(docs/adr/0007-grpc-client-on-h2.md).
"""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import TYPE_CHECKING

from collector.api import RetryableExportError, Signal, client_context
from exporters.otlp.grpc_message import prefix, reply_of, request_fields, timeout_value
from exporters.otlp.h2_connection import Connection
from exporters.otlp.h2_draining import NotTakenError
from exporters.otlp.sender import compress

if TYPE_CHECKING:
    from exporters.otlp.options import OtlpOptions

_CONNECT_S = 5.0
_FIRST_WAIT_S = 0.2
# A backend that comes back is found within seconds.
_LONGEST_WAIT_S = 3.0
_GOODBYE_S = 1.0
_ANY = Signal.TRACES
"""Over gRPC all signals go to one endpoint."""


class GrpcSender:
    """A connection to one backend, made when there is something to send and made anew when it is gone."""

    def __init__(self, options: OtlpOptions) -> None:
        self._options = options
        self._fields = {signal: request_fields(options, signal) for signal in Signal}
        self._started = False
        self._tls: ssl.SSLContext | None = None
        self._current: Connection | None = None
        self._open: set[Connection] = set()
        self._connecting: asyncio.Task[str] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._reason = ""

    async def start(self) -> None:
        """Read the TLS files. The first request connects."""
        if self._options.secure(_ANY):
            self._tls = await asyncio.to_thread(client_context, self._options.tls)
            self._tls.set_alpn_protocols(["h2"])
        self._started = True

    async def stop(self) -> None:
        """Close every connection."""
        self._started = False
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for connection in list(self._open):
            connection.close()
            try:
                await asyncio.wait_for(connection.closed.wait(), _GOODBYE_S)
            except TimeoutError:
                connection.give_up("the exporter stops")
                await connection.closed.wait()
        self._open.clear()
        self._current = None

    async def send(self, payload: bytes, signal: Signal) -> bytes:
        """One call of the signal's service. What a closing connection did not take is sent once more on another one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.timeout / 1e9
        gzip = self._options.compression == "gzip"
        message = await compress(payload, "gzip") if gzip else payload
        head = prefix(message, compressed=gzip)
        pieces = (head, message) if message else (head,)
        for last in (False, True):
            connection = await self._connection()
            fields = [*self._fields[signal], ("grpc-timeout", timeout_value(deadline - loop.time()))]
            try:
                return reply_of(await connection.request(fields, pieces))
            except NotTakenError:
                if last:
                    raise
        raise AssertionError  # the loop returns or raises

    async def _connection(self) -> Connection:
        """The connection for the next request. Raises `RetryableExportError`, at once while a failure is fresh."""
        if not self._started:
            raise RetryableExportError("the exporter is not started")
        if self._current is not None and self._current.usable:
            return self._current
        if self._connecting is None:
            if asyncio.get_running_loop().time() < self._not_before:
                raise RetryableExportError(self._reason)
            self._connecting = asyncio.create_task(self._connect())
        # Shared by all who wait for it, so none of them takes it along when its time is up.
        reason = await asyncio.shield(self._connecting)
        if self._current is None or reason:
            raise RetryableExportError(reason)
        return self._current

    async def _connect(self) -> str:
        """Connect, or say why not."""
        self._open = {each for each in self._open if not each.closed.is_set()}
        try:
            reason = await self._attempt()
        finally:
            self._connecting = None
        if not reason:
            self._failures, self._not_before = 0, 0.0
            return ""
        wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 1.6**self._failures) * random.uniform(0.8, 1.2)
        self._failures = min(self._failures + 1, 10)
        self._not_before = asyncio.get_running_loop().time() + wait
        self._reason = reason
        return reason

    async def _attempt(self) -> str:
        try:
            async with asyncio.timeout(_CONNECT_S):
                self._current = await self._connected()
        except RetryableExportError as error:
            return error.reason
        except TimeoutError:
            return "the backend does not answer a new connection in time (UNAVAILABLE)"
        except ssl.SSLCertVerificationError:
            return "the backend's certificate is not trusted"
        except ssl.SSLError:
            return "the TLS handshake with the backend fails"
        except OSError:
            return "the backend can't be reached (UNAVAILABLE)"
        return ""

    async def _connected(self) -> Connection:
        options, target = self._options, self._options.target(_ANY)
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(options.keepalive, secure=options.secure(_ANY)),
            target.host,
            target.port,
            ssl=self._tls,
            server_hostname=(options.tls.server_name_override or target.host) if self._tls else None,
        )
        self._open.add(connection)
        try:
            await connection.ready()
        except BaseException:
            connection.give_up("the connection was not made")
            raise
        return connection
