"""One HTTP/2 connection to a backend: requests share it, each on a stream of its own.

HTTP/2 is RFC 9113; frames, header compression and flow-control accounting are `h2`'s. What is decided here is when
bytes are written and read, what is bounded, and how things end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from collector.api import RetryableExportError
from exporters.otlp.grpc_status import refusal_of_reset
from exporters.otlp.h2_draining import DrainingH2, NotTakenError
from exporters.otlp.h2_exchange import Answer, Exchange
from exporters.otlp.h2_liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from h2.events import Event

    from exporters.otlp.options import KeepaliveOptions

_BURST = 256 << 10
"""Bytes of frames that are written at once, before the transport is asked again whether it wants more."""
_MAX_UNREAD = 4 << 20
"""A backend that provokes answers (pings, settings) and reads none of them is cut at this many bytes."""
_MAX_UNASKED = 32 << 20
"""Bytes that may arrive without a request beginning or ending."""
_MAX_FIELDS = 64 << 10
_STALE_S = 60.0
"""After this long a silence the path may be gone: a ping goes along with the next request."""


class Connection(asyncio.Protocol):
    """Made by `loop.create_connection`; `ready()` tells when requests may begin."""

    def __init__(self, keepalive: KeepaliveOptions | None, *, secure: bool) -> None:
        self._keepalive = keepalive
        self._secure = secure
        self._h2 = DrainingH2(H2Configuration(client_side=True))
        self._exchanges: dict[int, Exchange] = {}
        self._paused = self._draining = False
        self._unasked = 0
        self._loss = ""
        self._first = b""
        self._begun = asyncio.Event()
        self._vacant = asyncio.Event()
        self.closed = asyncio.Event()
        self._on: dict[type[Event], Callable[..., None]] = {
            ResponseReceived: lambda event: self._of(event).on_headers(event.headers),
            InformationalResponseReceived: lambda event: self._of(event).on_informational(event.headers),
            TrailersReceived: lambda event: self._of(event).on_trailers(event.headers),
            DataReceived: self._on_data,
            StreamEnded: lambda event: self._of(event).on_end(),
            StreamReset: lambda event: self._of(event).on_reset(refusal_of_reset(int(event.error_code))),
            WindowUpdated: lambda event: self._of(event).wake() if event.stream_id else self._wake(),
            RemoteSettingsChanged: self._on_settings,
            ConnectionTerminated: self._on_goaway,
        }

    # -- for the sender

    @property
    def usable(self) -> bool:
        """Whether new requests may begin here."""
        return not (self._draining or self._loss)

    @property
    def busy(self) -> bool:
        """Whether requests are under way."""
        return bool(self._exchanges)

    async def ready(self) -> None:
        """Wait for the backend's settings, without which nothing is known to speak HTTP/2 there. Raises
        `RetryableExportError`.
        """
        await self._begun.wait()
        if self._loss:
            raise RetryableExportError(self._loss)

    async def request(self, fields: list[tuple[str, str]], pieces: Sequence[bytes]) -> Answer:
        """Send one request, its body in `pieces` (none of them empty), and give what is answered.

        Raises `RetryableExportError` where there is no whole answer. Cancelling resets the stream and leaves the
        connection to the others.
        """
        await self._vacancy()
        exchange, began = Exchange(), self._liveness.heard
        stream = self._open(fields, exchange)
        try:
            await self._write(stream, exchange, pieces)
            while exchange.outcome is None:
                await exchange.change()
        finally:
            self._finish(stream, exchange, began)
        if isinstance(exchange.outcome, Answer):
            return exchange.outcome
        raise exchange.outcome

    def close(self) -> None:
        """Say good-bye and close; `closed` tells when that is done."""
        if self.usable:
            self._h2.close_connection()
            self._flush()
        self._lose("the connection to the backend is closed")
        self._transport.close()

    def ping(self) -> None:
        """Send a PING frame. Any answer counts, so it says nothing of its own."""
        self._h2.ping(bytes(8))
        self._flush()

    def give_up(self, reason: str) -> None:
        """Abort, without another word to the backend."""
        self._lose(reason)
        self._transport.abort()

    # -- sending

    async def _vacancy(self) -> None:
        while self.usable and self._h2.open_outbound_streams >= self._h2.remote_settings.max_concurrent_streams:
            self._vacant.clear()
            await self._vacant.wait()
        if not self.usable:
            raise NotTakenError(self._loss or "the backend is closing the connection (UNAVAILABLE)")

    def _open(self, fields: list[tuple[str, str]], exchange: Exchange) -> int:
        if asyncio.get_running_loop().time() - self._liveness.heard > _STALE_S:
            self._liveness.probe()
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, fields)
        except H2Error:  # a connection has 2**30 streams
            self._draining = True
            self._close_when_drained()
            raise NotTakenError("the connection to the backend takes no more requests (UNAVAILABLE)") from None
        self._exchanges[stream] = exchange
        self._unasked = 0
        return stream

    async def _write(self, stream: int, exchange: Exchange, pieces: Sequence[bytes]) -> None:
        for number, piece in enumerate(pieces, 1):
            rest = memoryview(piece)
            while rest:
                if exchange.outcome is not None:
                    return
                room = 0 if self._paused else min(self._h2.local_flow_control_window(stream), _BURST)
                if room <= 0:
                    self._flush()
                    await exchange.change()
                    continue
                burst, rest = rest[:room], rest[room:]
                self._frames(stream, burst, end=number == len(pieces) and not rest)
        exchange.sent = True

    def _frames(self, stream: int, burst: memoryview, *, end: bool) -> None:
        size = self._h2.max_outbound_frame_size
        for at in range(0, len(burst), size):
            self._h2.send_data(stream, burst[at : at + size], end_stream=end and at + size >= len(burst))
        if end or len(burst) > size:
            self._flush()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > _MAX_UNREAD:
                self.give_up("the backend reads nothing (UNAVAILABLE)")

    def _finish(self, stream: int, exchange: Exchange, began: float) -> None:
        del self._exchanges[stream]
        self._unasked = 0
        if not self._loss:
            if not exchange.reset and not (exchange.sent and exchange.ended):
                self._h2.reset_stream(stream, ErrorCodes.NO_ERROR if exchange.ended else ErrorCodes.CANCEL)
                self._flush()
            if exchange.outcome is None and self._liveness.heard == began:
                self._liveness.probe()  # nothing came all the while: is anybody there?
        self._vacant.set()
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self._draining and not self._exchanges and not self._loss:
            self.close()

    # -- receiving

    def _of(self, event: Event) -> Exchange:
        """The exchange of an event; one that nobody waits for where its own has ended."""
        return self._exchanges.get(event.stream_id) or Exchange()  # type: ignore[attr-defined]  # those of a stream

    def _begins(self, data: bytes) -> bool:
        """Whether the first frame may be SETTINGS. `h2` would wait for as much as other words seem to announce."""
        if len(self._first) < 4:
            self._first += data[: 4 - len(self._first)]
        return self._first[:1] in {b"", b"\0"} and self._first[3:] in {b"", b"\4"}

    def _on_data(self, event: DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._of(event).on_data(event.data)

    def _on_settings(self, _event: RemoteSettingsChanged) -> None:
        self._begun.set()
        self._vacant.set()
        self._wake()

    def _on_goaway(self, event: ConnectionTerminated) -> None:
        self._draining = True
        self._vacant.set()
        for stream, exchange in self._exchanges.items():
            if stream > (event.last_stream_id or 0):
                exchange.reset = True
                exchange.fail(NotTakenError("the backend closes the connection (UNAVAILABLE)"))
        self._close_when_drained()

    def _wake(self) -> None:
        for exchange in self._exchanges.values():
            exchange.wake()

    def _lose(self, reason: str) -> None:
        """Nothing can be sent or heard any more. The first reason counts."""
        if not self._loss:
            self._loss = reason
            self._liveness.stop()
            self._begun.set()
            self._vacant.set()
            for exchange in self._exchanges.values():
                exchange.fail(RetryableExportError(f"{reason}; whether the data was taken is unknown"))

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin HTTP/2, or nothing at all where TLS has settled on something else."""
        self._transport = cast("asyncio.Transport", transport)
        self._liveness = Liveness(self, self._keepalive)
        tls = transport.get_extra_info("ssl_object")
        if self._secure and (tls is None or tls.selected_alpn_protocol() != "h2"):
            self.give_up("the backend does not offer HTTP/2 over TLS")
            return
        initial = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_FIELDS}
        self._h2.local_settings = Settings(client=True, initial_values=initial)
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes of the backend."""
        self._liveness.hear()
        self._unasked += len(data)
        if self._loss:
            return
        if not self._begins(data):
            self.give_up("the backend does not speak HTTP/2")
            return
        try:
            events = self._h2.receive_data(data)
        except Exception:  # noqa: BLE001 - whatever strange bytes make h2 raise, the connection is of no more use
            self._flush()
            self.give_up("the backend breaks the rules of HTTP/2 (UNAVAILABLE)")
            return
        for event in events:
            if (handle := self._on.get(type(event))) is not None:
                handle(event)
        self._flush()
        if self._unasked > _MAX_UNASKED:
            self.give_up("the backend sends without being asked (UNAVAILABLE)")

    def pause_writing(self) -> None:
        """The transport has enough for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport wants more."""
        self._paused = False
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        """The transport is closed, whoever did it."""
        self._lose("the backend ended the connection (UNAVAILABLE)")
        self.closed.set()
