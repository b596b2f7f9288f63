"""Just enough HTTP/2 to misbehave: frames and uncompressed headers, by hand."""

import socket
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def frame(kind, flags, stream, body=b""):
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _literal(text):
    data = text.encode("latin-1")
    assert len(data) < 127 + 128
    length = bytes([len(data)]) if len(data) < 127 else bytes([127, len(data) - 127])
    return length + data


def headers(stream, extra=(), *, end=False, path=PATH):
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]
    block = b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in fields)
    return frame(1, 0x4 | end, stream, block)


def data(stream, body, *, end=True):
    return frame(0, int(end), stream, body)


def reset(stream):
    return frame(3, 0, stream, (8).to_bytes(4, "big"))


def message(body, *, compressed=False, length=None):
    """A gRPC length-prefixed message; `length` lies."""
    return bytes([compressed]) + (len(body) if length is None else length).to_bytes(4, "big") + body


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.sendall(PREFACE + frame(4, 0, 0))
    return sock


def receive(sock, wait=2.0, wanted=None):
    """Whatever comes until the peer closes, is silent for `wait` seconds, or has said what is `wanted`."""
    sock.settimeout(wait)
    got = b""
    try:
        while chunk := sock.recv(65536):
            got += chunk
            if wanted is not None and wanted in got:
                break
    except OSError:
        pass
    return got


def withhold(port, streams, size, seconds):
    """Open `streams` calls on one connection and send all but the end of each one's message of `size` bytes, as far as
    the windows let it; stay for `seconds`.
    """
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for _ in range(streams):
        fields = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "localhost")]
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, [*fields, ("content-type", "application/grpc"), ("te", "trailers")])
        client.send_data(stream, message(b"", length=size))
    left = dict.fromkeys(range(1, 2 * streams, 2), size - 1)
    sock = socket.create_connection(("127.0.0.1", port), timeout=0.02)
    end = time.monotonic() + seconds
    while left and time.monotonic() < end:
        for stream in left:
            while room := min(client.local_flow_control_window(stream), client.max_outbound_frame_size, left[stream]):
                client.send_data(stream, bytes(room))
                left[stream] -= room
        sock.settimeout(5)
        sock.sendall(client.data_to_send())
        sock.settimeout(0.02)
        try:
            events = client.receive_data(sock.recv(1 << 20))
        except TimeoutError:
            continue
        for event in events:
            if isinstance(event, StreamReset | StreamEnded):
                left.pop(event.stream_id, None)
    sock.close()
