"""Hostile requests. Each leaves the process up and small, a good sender served, one refusal counter moved by the true
amount, and nothing of the request in the answer or the log."""

import asyncio
import gzip
import json
import logging
import re
import socket
import struct
import sys
import zlib
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
import zstandard
from otlp_harness import RSS_WITHIN, Bystander, export, payload, post, raw, serving, spans_of
from otlp_http2 import connect, data, headers, message, receive, reset

GZIP = {"Content-Encoding": "gzip"}
JSON = {"Content-Type": "application/json"}
SECRET = "hunter2-secret-payload"


@asynccontextmanager
async def attacked(caplog, *, rss_within=RSS_WITHIN, **config):
    """A receiver with a bystander, who must be served afterwards."""
    caplog.set_level(logging.INFO)
    async with serving(**config) as running:
        bystander = await asyncio.to_thread(Bystander, running)
        try:
            yield running
            await asyncio.to_thread(bystander.check, rss_within)
        finally:
            await asyncio.to_thread(bystander.close)
    for record in caplog.records:
        text = record.getMessage() + str(record.exc_info)
        assert SECRET not in text
        assert "Traceback" not in text


def clean(text):
    text = text if isinstance(text, bytes) else text.encode()
    for leak in (SECRET.encode(), b"Traceback", b"Exception", b".py", b"/work", b"aiohttp", b"Python"):
        assert leak not in text
    assert re.search(rb"[a-z]Error", text) is None


def tag(field, wire):
    return bytes([field << 3 | wire])


def nest(depth):
    """A request whose attribute's AnyValue nests `depth` arrays."""
    value = b""
    for _ in range(depth):
        value = b"\x2a" + _sized(b"\x0a" + _sized(value))  # AnyValue.array_value{values}
    attribute = b"\x0a\x01k" + b"\x12" + _sized(value)
    span = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x01" * 8 + b"\x4a" + _sized(attribute)
    return b"\x0a" + _sized(b"\x12" + _sized(b"\x12" + _sized(span)))


def _sized(body):
    size, out = len(body), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size]) + body


def empty_spans(n):
    return b"\x0a" + _sized(b"\x12" + _sized(b"\x12\x00" * n))


MALFORMED = {
    "truncated": payload()[:-3],
    "group without end": tag(1, 3),
    "end of a group that never began": tag(1, 4),
    "field 0": b"\x02\x00",
    "wire type 6": tag(1, 6),
    "wire type 7": tag(1, 7),
    "varint of 11 bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "length 2^64-1": tag(1, 2) + b"\xff" * 9 + b"\x01",
    "length past the end": tag(1, 2) + b"\x7f" + SECRET.encode(),
    "invalid UTF-8": payload(name=SECRET).replace(b"hunter2", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9"),
    "AnyValue nested too deep": nest(40),
    "AnyValue nested a thousand deep": nest(1000),
    "more spans than a request may have": empty_spans(250_001),
    "text": SECRET.encode() * 100,
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_protobuf(caplog, name):
    async with attacked(caplog) as running:
        error = await asyncio.to_thread(export, running.ports["grpc"], MALFORMED[name])
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        clean(error.details())
        assert running.refusals() == {"malformed": 1}
        code, _, body = await asyncio.to_thread(post, running.ports["http"], MALFORMED[name])
        assert code == 400
        clean(body)
        assert running.refusals() == {"malformed": 2}


async def test_a_small_request_of_two_million_empty_spans(caplog):
    async with attacked(caplog, grpc_options={"max_recv_msg_size_mib": 8}) as running:
        bomb = empty_spans(2_000_000)
        error = await asyncio.to_thread(export, running.ports["grpc"], bomb, compression=grpc.Compression.Gzip)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        small = gzip.compress(bomb)
        assert len(small) < 8192
        code, _, _ = await asyncio.to_thread(post, running.ports["http"], small, headers=GZIP)
        assert code == 400
        assert running.refusals() == {"malformed": 2}


async def test_as_many_empty_spans_as_are_allowed_are_all_refused_by_count(caplog):
    async with attacked(caplog) as running:
        assert spans_of(empty_spans(3))[0].trace_id == b""
        answer = await asyncio.to_thread(export, running.ports["grpc"], empty_spans(250_000))
        assert not isinstance(answer, grpc.RpcError)
        assert running.refusals() == {"bad_id": 250_000}


BOMB = 160 << 20


def _zstd_bomb(size):
    """RLE blocks: 4 bytes that stand for 128 KiB each."""
    block = struct.pack("<I", 1 << 1 | (128 << 10) << 3)[:3] + b"\x00"
    count = size // (128 << 10)
    last = struct.pack("<I", 1 | 1 << 1 | (128 << 10) << 3)[:3] + b"\x00"
    # descriptor: no content size, no checksum, no dictionary; window of 1 MiB
    return b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([10 << 3]) + block * (count - 1) + last


def _zlib_bomb(wbits):
    compressor = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(compressor.compress(bytes(1 << 20)) for _ in range(BOMB >> 20)) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "make"),
    [("gzip", lambda: _zlib_bomb(31)), ("deflate", lambda: _zlib_bomb(15)), ("zstd", lambda: _zstd_bomb(BOMB))],
)
async def test_decompression_bombs_over_http(caplog, encoding, make):
    bomb = make()
    if encoding == "zstd":
        assert zstandard.ZstdDecompressor().decompressobj().decompress(bomb[:4096])
    async with attacked(caplog) as running:
        code, _, body = await asyncio.to_thread(
            post, running.ports["http"], bomb, headers={"Content-Encoding": encoding}
        )
        assert code == 413
        clean(body)
        assert running.refusals() == {"too_large": 1}


async def test_a_decompression_bomb_over_grpc(caplog):
    bomb = _zlib_bomb(31)
    async with attacked(caplog) as running:

        def attack():
            with connect(running.ports["grpc"]) as sock:
                sock.sendall(headers(1, [("grpc-encoding", "gzip")]))
                framed = message(bomb, compressed=True)
                for start in range(0, min(len(framed), 60_000), 16_000):
                    sock.sendall(data(1, framed[start : start + 16_000], end=False))
                return receive(sock, 0.5)

        await asyncio.to_thread(attack)  # the window is full before the message is: nothing to decompress yet
        error = await asyncio.to_thread(
            export, running.ports["grpc"], bytes(8 << 20), compression=grpc.Compression.Gzip
        )
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
        await _settled(running, {"unread": 2})


async def _settled_to(running, outcome, least):
    for _ in range(100):
        if running.refusals()[outcome] >= least:
            return
        await asyncio.sleep(0.02)
    assert running.refusals()[outcome] >= least


async def _settled(running, refusals):
    for _ in range(100):
        if running.refusals() == refusals:
            return
        await asyncio.sleep(0.02)
    assert running.refusals() == refusals


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(payload())[:-4]),
        ("gzip", gzip.compress(payload())[:12]),
        ("gzip", gzip.compress(payload()) + SECRET.encode()),
        ("gzip", gzip.compress(payload())[:-8] + b"\x00" * 8),
        ("gzip", b""),
        ("gzip", payload()),
        ("gzip", gzip.compress(b"") * 1001),
        ("gzip", gzip.compress(gzip.compress(payload()))),
        ("deflate", zlib.compress(payload())[:-2]),
        ("deflate", zlib.compress(payload()) + b"junk"),
        ("deflate", gzip.compress(payload())),
        ("zstd", zstandard.ZstdCompressor().compress(payload())[:-2]),
        ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress(payload())[:-1] + b"\x00"),
        ("zstd", zstandard.ZstdCompressor().compress(payload()) + SECRET.encode()),
        ("zstd", zstandard.ZstdCompressor().compress(b"") * 1001),
        ("zstd", b""),
        ("zstd", b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([31 << 3])),
        ("identity", gzip.compress(payload())),
    ],
)
async def test_damaged_streams_over_http(caplog, encoding, body):
    async with attacked(caplog) as running:
        code, _, answer = await asyncio.to_thread(
            post, running.ports["http"], body, headers={"Content-Encoding": encoding}
        )
        assert code == 400
        clean(answer)
        assert running.refusals() == {"malformed": 1}


async def test_oversize_bodies(caplog):
    async with attacked(caplog, http_options={"max_request_body_size": "1MiB"}) as running:
        port = running.ports["http"]
        head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        answer = await asyncio.to_thread(raw, port, head + b"Content-Length: 99999999999\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert (await asyncio.to_thread(post, port, iter([bytes(600_000)] * 3)))[0] == 413
        assert (await asyncio.to_thread(post, port, gzip.compress(bytes(1 << 21)), headers=GZIP))[0] == 413
        assert running.refusals() == {"too_large": 3}
        error = await asyncio.to_thread(export, running.ports["grpc"], bytes(5 << 20))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await _settled(running, {"too_large": 3, "unread": 1})


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Big: " + SECRET.encode() * 1000 + b"\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"POST /" + SECRET.encode() * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        SECRET.encode() + b"\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    ],
    ids=["header", "headers", "path", "text", "length", "lengths", "CR", "TLS"],
)
async def test_what_is_not_http(caplog, request_bytes):
    async with attacked(caplog) as running:
        answer = await asyncio.to_thread(raw, running.ports["http"], request_bytes)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        clean(answer)
        assert running.refusals() == {"bad_http": 1}


async def test_slow_headers_and_bodies_are_cut(caplog):
    options = {"read_timeout": "300ms", "read_header_timeout": "300ms"}
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    async with attacked(caplog, http_options=options) as running:
        port = running.ports["http"]
        began = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(raw, port, head, wait=5) == b""
        assert asyncio.get_running_loop().time() - began < 2
        answer = await asyncio.to_thread(raw, port, head + b"Content-Length: 9\r\n\r\nabc", wait=5)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert running.refusals() == {"slow": 1}


async def test_a_body_that_breaks_off(caplog):
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    async with attacked(caplog) as running:

        def attack():
            with socket.create_connection(("127.0.0.1", running.ports["http"])) as sock:
                sock.sendall(head + b"Content-Length: 900\r\n\r\nabc")

        await asyncio.to_thread(attack)
        await _settled(running, {"unread": 1})


async def test_more_connections_than_allowed(caplog):
    async with attacked(caplog, http_options={"max_connections": 5}) as running:

        def attack():
            socks = [socket.create_connection(("127.0.0.1", running.ports["http"])) for _ in range(20)]
            closed = 0
            for sock in socks:
                sock.settimeout(0.1)
                try:
                    closed += sock.recv(1) == b""
                except TimeoutError:
                    pass
                except OSError:
                    closed += 1
                sock.close()
            return closed

        # The bystander holds one of the five.
        assert await asyncio.to_thread(attack) == 16


async def test_silent_connections_make_room_for_those_that_speak(caplog):
    options = {"max_connections": 8, "read_header_timeout": "400ms"}
    async with attacked(caplog, http_options=options) as running:
        port = running.ports["http"]

        def attack():
            socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
            answers = [post(port, payload())[0] for _ in range(3)]
            for sock in socks:
                sock.settimeout(1)
                with suppress(ConnectionError):
                    assert sock.recv(1) == b""
                sock.close()
            return answers

        assert await asyncio.to_thread(attack) == [200] * 3
        assert running.refusals() == {}


async def test_bytes_that_are_only_announced_take_nobodys_room(caplog):
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    async with attacked(caplog) as running:
        running.intake.room = 4 << 20

        def attack():
            socks = [socket.create_connection(("127.0.0.1", running.ports["http"])) for _ in range(40)]
            for sock in socks:
                sock.sendall(head + b"Content-Length: 20000000\r\n\r\nab")
            return socks

        socks = await asyncio.to_thread(attack)
        await asyncio.sleep(0.1)
        assert (await asyncio.to_thread(post, running.ports["http"], payload()))[0] == 200
        for sock in socks:
            sock.close()
        await _settled(running, {"unread": 40})


JSON_MALFORMED = {
    "text": SECRET.encode(),
    "deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "cut": b'{"resourceSpans": [',
    "wrong shape": b'{"resourceSpans": {"' + SECRET.encode() + b'": 1}}',
    "NaN": b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": NaN}]}]}]}',
    "huge integer": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":' + b"9" * 5000 + b"}]}]}]}",
    "base64 id": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"W47/95gDgQPSabYzgT/GDA=="}]}]}]}',
    "lone surrogate": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\\ud800"}]}]}]}',
    "not UTF-8": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\xff"}]}]}]}',
    "trailing junk": b"{}" + SECRET.encode(),
}


@pytest.mark.parametrize("name", JSON_MALFORMED)
async def test_malformed_json(caplog, name):
    async with attacked(caplog) as running:
        code, _, body = await asyncio.to_thread(post, running.ports["http"], JSON_MALFORMED[name], headers=JSON)
        assert code == 400
        clean(body)
        assert json.loads(body)["code"] == 3
        assert running.refusals() == {"malformed": 1}


async def test_a_million_empty_json_spans(caplog):
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * 1_000_000 + b"{}]}]}]}"
    async with attacked(caplog) as running:
        sent = gzip.compress(body)
        code, _, _ = await asyncio.to_thread(post, running.ports["http"], sent, headers={**JSON, **GZIP})
        assert code == 400
        assert running.refusals() == {"malformed": 1}


async def test_http2_streams_that_never_send_their_message(caplog):
    options = {"max_requests": 32, "read_timeout": "1s"}
    async with attacked(caplog, grpc_options=options) as running:

        def attack():
            socks = [connect(running.ports["grpc"]) for _ in range(4)]
            for sock in socks:
                sock.sendall(b"".join(headers(2 * n + 1) for n in range(6)))
            return socks

        socks = await asyncio.to_thread(attack)
        await asyncio.sleep(0.4)  # the first are found out; a good request now is answered at once
        assert await asyncio.to_thread(export, running.ports["grpc"], payload()) == b""
        await _settled(running, {"slow": 24})
        for sock in socks:
            sock.close()


async def test_those_who_never_send_their_message_are_told_to_come_back(caplog):
    async with attacked(caplog, grpc_options={"read_timeout": "200ms"}) as running:

        def attack():
            with connect(running.ports["grpc"]) as sock:
                sock.sendall(headers(1))
                return receive(sock, 0.6)

        answer = await asyncio.to_thread(attack)
        assert b"did not arrive in time" in answer
        clean(answer)
        assert running.refusals() == {"slow": 1}


@pytest.mark.parametrize("path", ["/\xff\xfe" + SECRET, "\xc3", "", SECRET, "/" + SECRET + "/Export"])
async def test_grpc_paths_that_are_not(caplog, path):
    async with attacked(caplog) as running:

        def attack():
            with connect(running.ports["grpc"]) as sock:
                sock.sendall(headers(1, path=path) + data(1, message(payload())))
                return receive(sock, 0.4)

        clean(await asyncio.to_thread(attack))
        assert set(running.refusals()) <= {"not_served"}


async def test_grpc_headers_that_are_not_text(caplog):
    async with serving(auth={"bearer_tokens": ["right"]}) as running:

        def attack():
            with connect(running.ports["grpc"]) as sock:
                extra = [("authorization", "Bearer \xff" + SECRET)]
                sock.sendall(headers(1, extra) + data(1, message(payload())))
                return receive(sock, 0.4)

        clean(await asyncio.to_thread(attack))
        assert running.refusals() == {"unauthenticated": 1}
        assert SECRET not in caplog.text


async def test_messages_without_their_last_byte_hold_no_memory(caplog):
    # How much comes between two looks at the memory is the machine's affair; unchecked it would be 360 MiB.
    async with attacked(caplog, rss_within=128 << 20) as running:
        # Another process: the sender's own memory must not count.
        sender = f"import otlp_http2; otlp_http2.withhold({running.ports['grpc']}, 90, {4 << 20}, 3.0)"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", sender, cwd=Path(__file__).parent)
        assert await process.wait() == 0
        await _settled_to(running, "slow", 80)


async def test_an_http2_flood_of_resets(caplog):
    async with attacked(caplog) as running:

        def attack():
            with connect(running.ports["grpc"]) as sock:
                try:
                    for start in range(0, 2000, 100):
                        numbers = range(2 * start + 1, 2 * (start + 100), 2)
                        sock.sendall(b"".join(headers(n) + reset(n) for n in numbers))
                except OSError:
                    pass  # gRPC may hang up on such a sender, and rightly

        await asyncio.to_thread(attack)
        assert set(running.refusals()) <= {"unread"}


@pytest.mark.parametrize(
    ("extra", "body"),
    [
        ([("grpc-encoding", "gzip")], message(b"this is not gzip", compressed=True)),
        ([("grpc-encoding", "gzip")], message(gzip.compress(payload())[:-6], compressed=True)),
        ([("grpc-encoding", "nonsense")], message(payload(), compressed=True)),
        ([], message(payload(), compressed=True)),
        ([], message(payload(), length=0xFFFFFFFF)),
        ([], message(payload(), length=len(payload()) + 100)),
        ([], b"\x00\x00"),
        ([], b""),
    ],
    ids=["not gzip", "cut gzip", "no such encoding", "flag alone", "4 GiB", "short", "no length", "nothing"],
)
async def test_grpc_messages_that_are_not(caplog, extra, body):
    async with attacked(caplog) as running:

        def attack():
            with connect(running.ports["grpc"]) as sock:
                sock.sendall(headers(1, extra) + data(1, body))
                return receive(sock, 0.4)

        clean(await asyncio.to_thread(attack))
        assert sum(running.refusals().values()) <= 1
        assert running.intake.taken == [(payload(), 1)] * 2  # the bystander's


async def test_a_client_that_vanishes_before_its_answer(caplog):
    async with attacked(caplog) as running:
        running.intake.delay = 0.2
        sock = await asyncio.to_thread(connect, running.ports["grpc"])
        sock.sendall(headers(1) + data(1, message(payload())))
        while len(running.intake.taken) < 3:
            await asyncio.sleep(0.01)
        sock.close()
        running.intake.delay = 0
        await asyncio.sleep(0.3)
        assert running.intake.open == 0


async def test_oversize_metadata(caplog):
    async with attacked(caplog) as running:
        error = await asyncio.to_thread(export, running.ports["grpc"], payload(), metadata=[("x-big", SECRET * 2000)])
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_timestamps_out_of_this_world_are_taken(caplog):
    from otlp_harness import request

    message_ = request(4)
    spans = message_.resource_spans[0].scope_spans[0].spans
    for span, start in zip(spans, (0, 2**63, 2**64 - 1, 5), strict=True):
        span.start_time_unix_nano = start
        span.end_time_unix_nano = 4
    async with attacked(caplog) as running:
        assert await asyncio.to_thread(export, running.ports["grpc"], message_.SerializeToString()) == b""
        assert running.refusals() == {}
