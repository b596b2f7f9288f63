"""A backend on h2's server side that does what a test tells it: answers, resets, goes away, floods, says nothing."""

import asyncio

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings

EMPTY = bytes(5)
GRPC = [(":status", "200"), ("content-type", "application/grpc")]


class Peer(asyncio.Protocol):
    """One accepted connection. `h2` raises when the client breaks a rule, flow control included."""

    def __init__(self, backend):
        self.backend = backend
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        self.fields, self.bodies, self.frames, self.resets = {}, {}, [], {}
        self.open, self.most = set(), 0
        self.lost = asyncio.Event()
        self.goaway = False
        self.error = None

    def connection_made(self, transport):
        self.transport = transport
        self.backend.peers.append(self)
        if self.backend.on_connect is not None:
            self.backend.on_connect(self)
            return
        self.h2.local_settings = Settings(client=False, initial_values=self.backend.settings)
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data):
        self.backend.received += len(data)
        if self.backend.on_connect is not None:
            return
        try:
            events = self.h2.receive_data(data)
        except Exception as error:
            self.error = error
            raise
        for event in events:
            self.handle(event)
        self.flush()

    def handle(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, RequestReceived):
            self.fields[stream], self.bodies[stream] = dict(event.headers), bytearray()
            self.open.add(stream)
            self.most = max(self.most, len(self.open))
            self.backend.on_headers(self, stream)
        elif isinstance(event, DataReceived):
            self.bodies[stream] += event.data
            self.frames.append(len(event.data))
            self.backend.on_data(self, stream, event.flow_controlled_length)
        elif isinstance(event, StreamEnded):
            self.backend.on_end(self, stream)
        elif isinstance(event, StreamReset):
            self.open.discard(stream)
            self.resets[stream] = int(event.error_code)
        elif type(event).__name__ == "ConnectionTerminated":
            self.goaway = True

    def connection_lost(self, _error):
        self.lost.set()

    def flush(self):
        if data := self.h2.data_to_send():
            self.transport.write(data)

    def raw(self, data):
        self.flush()
        self.transport.write(data)

    def answer(self, stream, body=EMPTY, *, status="0", fields=(), trailers=(), headers=GRPC):
        """Headers, body and trailers; "Trailers-Only" when `body` is None."""
        ending = [*([("grpc-status", status)] if status is not None else []), *trailers]
        self.open.discard(stream)
        if body is None:
            self.h2.send_headers(stream, [*headers, *fields, *ending], end_stream=True)
        else:
            self.h2.send_headers(stream, [*headers, *fields])
            self.h2.send_data(stream, body)
            if ending:
                self.h2.send_headers(stream, ending, end_stream=True)
            else:
                self.h2.end_stream(stream)
        self.flush()


class H2Backend:
    """Answers OK unless a test replaces `on_end(peer, stream)` and its like."""

    def __init__(self, **settings):
        self.settings = {SettingCodes[name.upper()]: value for name, value in settings.items()}
        self.peers = []
        self.received = 0
        self.on_connect = None
        self.on_headers = lambda _peer, _stream: None
        self.on_data = lambda peer, stream, size: peer.h2.acknowledge_received_data(size, stream)
        self.on_end = lambda peer, stream: peer.answer(stream)

    async def start(self, ssl=None):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0, ssl=ssl)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        self.server.close()
        for peer in self.peers:
            peer.transport.abort()
        await self.server.wait_closed()
        await asyncio.gather(*(peer.lost.wait() for peer in self.peers))
