"""The gRPC sender against a backend that is scripted down to the frames."""

import asyncio
import base64
import gzip
import logging
import os
import random
import ssl
import time

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from h2_backend import EMPTY, GRPC, H2Backend
from otlp_http2 import frame

from collector.api import ExportError, RejectedExportError, RetryableExportError, Signal
from exporters.otlp import OtlpOptions, h2_connection, h2_liveness, over_h2
from exporters.otlp.over_h2 import GrpcSender
from exporters.otlp.sender import DeniedError

NOISE = random.Random(7).randbytes(9 << 20)


@pytest.fixture
async def running(caplog):
    """Starts backends and senders, and stops them: nothing may be left running, and nothing may be logged."""
    started = []
    before = asyncio.all_tasks()

    async def run(backend=None, **options):
        backend = backend or H2Backend()
        await backend.start(options.pop("ssl", None))
        endpoint = {"endpoint": f"127.0.0.1:{backend.port}", "compression": "none", "tls": {"insecure": True}}
        sender = GrpcSender(OtlpOptions.model_validate({**endpoint, **options}))
        await sender.start()
        started.extend([sender, backend])
        return sender, backend

    yield run
    for each in started:
        await each.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def until(true, within=5.0):
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.002)


def message_of(peer, stream=1):
    body = bytes(peer.bodies[stream])
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    return body[5:]


# -- requests


async def test_a_request_is_grpcs(running):
    sender, backend = await running(headers={"X-Tenant": " a ", "trace-bin": "~key?"}, timeout="3s")
    began = time.monotonic()
    assert await sender.send(b"payload", Signal.TRACES) == b""
    took = time.monotonic() - began
    (peer,) = backend.peers
    fields = peer.fields[1]
    assert list(fields)[:4] == [":method", ":scheme", ":path", ":authority"]
    assert fields[":path"] == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    assert fields[":authority"] == f"127.0.0.1:{backend.port}"
    assert (fields["te"], fields["content-type"]) == ("trailers", "application/grpc")
    assert "grpc-encoding" not in fields
    assert fields["x-tenant"] == "a"
    assert base64.b64decode(fields["trace-bin"] + "==") == b"~key?"
    assert 3_000_000 - took * 1e6 - 2 < int(fields["grpc-timeout"].removesuffix("u")) <= 3_000_000
    assert peer.bodies[1] == b"\0" + (7).to_bytes(4, "big") + b"payload"


@pytest.mark.parametrize("size", [0, 1, 100, 300_000])
async def test_gzip_is_ours(running, size):
    sender, backend = await running(compression="gzip")
    await sender.send(NOISE[:size], Signal.TRACES)
    (peer,) = backend.peers
    assert peer.bodies[1][0] == 1
    assert peer.fields[1]["grpc-encoding"] == "gzip"
    assert gzip.decompress(message_of(peer)) == NOISE[:size]


async def test_an_empty_message(running):
    sender, backend = await running()
    await sender.send(b"", Signal.TRACES)
    assert backend.peers[0].bodies[1] == EMPTY


# -- flow control


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 9 << 20),
        ({"initial_window_size": 1}, 300),
        ({"initial_window_size": 1000}, 300_000),
        ({"initial_window_size": 2**31 - 1, "max_frame_size": 2**24 - 1}, 9 << 20),
    ],
)
async def test_large_requests_keep_to_windows_and_frame_sizes(running, settings, size):
    sender, backend = await running(H2Backend(**settings))
    async with asyncio.timeout(20):
        await sender.send(NOISE[:size], Signal.TRACES)
    (peer,) = backend.peers
    assert peer.error is None
    assert message_of(peer) == NOISE[:size]
    if "max_frame_size" in settings:
        assert max(peer.frames) > 16384
    else:
        assert max(peer.frames) <= 16384


async def test_no_window_means_no_data(running):
    sender, backend = await running(H2Backend(initial_window_size=10))
    backend.on_data = lambda _peer, _stream, _size: None
    task = asyncio.create_task(sender.send(NOISE[:100], Signal.TRACES))
    await until(lambda: backend.peers and sum(backend.peers[0].frames) == 10)
    await asyncio.sleep(0.05)
    (peer,) = backend.peers
    assert sum(peer.frames) == 10
    peer.h2.update_settings({4: 30})
    peer.flush()
    await until(lambda: sum(peer.frames) == 30)
    peer.h2.update_settings({4: 5})  # the window is 25 below zero now
    peer.h2.increment_flow_control_window(26, 1)
    peer.flush()
    await until(lambda: sum(peer.frames) == 31)
    await asyncio.sleep(0.02)
    assert sum(peer.frames) == 31
    peer.h2.increment_flow_control_window(1000, 1)
    peer.flush()
    assert await task == b""
    assert message_of(peer) == NOISE[:100]


async def test_requests_share_the_window_of_the_connection(running):
    sender, backend = await running()
    sizes = [1 << 20, 10, 1 << 19, 3000, 1 << 20]
    await asyncio.gather(*(sender.send(NOISE[:size], Signal.TRACES) for size in sizes))
    (peer,) = backend.peers
    assert sorted(len(body) - 5 for body in peer.bodies.values()) == sorted(sizes)


async def test_a_backend_that_does_not_read_costs_little_memory(running):
    sender, backend = await running(H2Backend(initial_window_size=2**31 - 1))
    await sender.send(b"x", Signal.TRACES)
    (peer,) = backend.peers
    peer.h2.increment_flow_control_window(2**30)
    peer.flush()
    await sender.send(b"x", Signal.TRACES)
    peer.transport.pause_reading()
    task = asyncio.create_task(sender.send(bytes(64 << 20), Signal.TRACES))
    await asyncio.sleep(0.3)
    (connection,) = sender._open
    assert connection._transport.get_write_buffer_size() <= 2 * h2_connection._BURST
    task.cancel()
    await asyncio.wait([task])


# -- streams


async def test_requests_share_one_connection_and_are_answered_in_any_order(running):
    sender, backend = await running()
    backend.on_end = lambda _peer, _stream: None
    tasks = [asyncio.create_task(sender.send(b"%d" % number, Signal.TRACES)) for number in range(20)]
    await until(lambda: backend.peers and len(backend.peers[0].bodies) == 20)
    (peer,) = backend.peers
    for stream in sorted(peer.bodies, reverse=True):
        body = message_of(peer, stream)
        peer.answer(stream, b"\0" + len(body).to_bytes(4, "big") + body)
    assert await asyncio.gather(*tasks) == [b"%d" % number for number in range(20)]


async def test_no_more_streams_than_the_backend_wants(running):
    sender, backend = await running(H2Backend(max_concurrent_streams=2))
    loop = asyncio.get_running_loop()
    backend.on_end = lambda peer, stream: loop.call_later(0.005, peer.answer, stream)
    await asyncio.gather(*(sender.send(b"x", Signal.TRACES) for _ in range(20)))
    (peer,) = backend.peers
    assert peer.most == 2
    assert len(peer.bodies) == 20


async def test_waiting_for_a_stream_ends_with_the_attempt_and_others_go_on(running):
    sender, backend = await running(H2Backend(max_concurrent_streams=1))
    backend.on_end = lambda _peer, _stream: None
    first, second, third = (asyncio.create_task(sender.send(b"x", Signal.TRACES)) for _ in range(3))
    await until(lambda: backend.peers and len(backend.peers[0].bodies) == 1)
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.wait([second])
    backend.on_end = lambda peer, stream: peer.answer(stream)
    backend.peers[0].answer(1)
    await asyncio.gather(first, third)
    assert len(backend.peers[0].bodies) == 2


@pytest.mark.parametrize("part", ["waiting for the answer", "in the middle of the body"])
async def test_a_cancelled_attempt_resets_its_stream_and_leaves_the_connection(running, part):
    sender, backend = await running()
    backend.on_end = lambda _peer, _stream: None
    if part == "in the middle of the body":
        backend.on_data = lambda _peer, _stream, _size: None
    task = asyncio.create_task(sender.send(NOISE[:200_000] if "middle" in part else b"x", Signal.TRACES))
    await until(lambda: backend.peers and backend.peers[0].frames)
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    (peer,) = backend.peers
    await until(lambda: peer.resets)
    assert peer.resets == {1: 8}
    peer.h2.increment_flow_control_window(1 << 20)
    peer.flush()
    backend.on_end = lambda peer, stream: peer.answer(stream)
    await sender.send(b"next", Signal.TRACES)
    assert len(backend.peers) == 1


async def test_an_answer_before_the_request_is_whole(running):
    sender, backend = await running()
    backend.on_data = lambda _peer, _stream, _size: None
    backend.on_headers = lambda peer, stream: peer.answer(stream, None, status="3")
    with pytest.raises(RejectedExportError, match="INVALID_ARGUMENT"):
        await sender.send(NOISE[:200_000], Signal.TRACES)
    await until(lambda: backend.peers[0].resets)
    assert backend.peers[0].resets == {1: 0}


RESETS = {
    0: (RejectedExportError, "INTERNAL"),
    1: (RejectedExportError, "INTERNAL"),
    2: (RejectedExportError, "INTERNAL"),
    7: (RetryableExportError, "UNAVAILABLE"),
    8: (RetryableExportError, "CANCELLED"),
    11: (RetryableExportError, "UNAVAILABLE"),
    12: (DeniedError, "PERMISSION_DENIED"),
    13: (RejectedExportError, "INTERNAL"),
    999: (RejectedExportError, "INTERNAL"),
}


@pytest.mark.parametrize("code", RESETS)
async def test_resets_mean_what_grpc_says(running, code):
    sender, backend = await running()
    backend.on_end = lambda peer, stream: peer.raw(frame(3, 0, stream, code.to_bytes(4, "big")))
    kind, word = RESETS[code]
    with pytest.raises(ExportError) as refused:
        await sender.send(b"x", Signal.TRACES)
    assert type(refused.value) is kind
    assert refused.value.reason == f"the backend resets the request ({word})"
    backend.on_end = lambda peer, stream: peer.answer(stream)
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 1


# -- answers


def details(seconds):
    info = RetryInfo()
    info.retry_delay.seconds = seconds
    packed = Any()
    packed.Pack(info)
    return base64.b64encode(Status(code=8, details=[packed]).SerializeToString()).decode()


@pytest.mark.parametrize("body", [None, EMPTY, b""])
@pytest.mark.parametrize("form", ["padded", "bare", "several"])
async def test_retry_info_is_found(running, body, form):
    value = details(3)
    assert value.endswith("=")
    value = {"padded": value, "bare": value.rstrip("="), "several": value + ",AAAA"}[form]
    sender, backend = await running()
    backend.on_end = lambda peer, stream: peer.answer(
        stream, body, status="8", trailers=[("grpc-message", "secret"), ("grpc-status-details-bin", value)]
    )
    with pytest.raises(RetryableExportError) as refused:
        await sender.send(b"x", Signal.TRACES)
    assert refused.value.retry_after_ns == 3 * 10**9
    assert refused.value.reason == "the backend answers RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("value", ["", "!", "A", "AAAA", "=" * 9])
async def test_details_that_are_none_wish_nothing(running, value):
    sender, backend = await running()
    backend.on_end = lambda peer, stream: peer.answer(
        stream, None, status="14", trailers=[("grpc-status-details-bin", value)]
    )
    with pytest.raises(RetryableExportError) as refused:
        await sender.send(b"x", Signal.TRACES)
    assert refused.value.retry_after_ns is None


@pytest.mark.parametrize(
    ("http", "kind"),
    [
        ("400", RejectedExportError),
        ("401", DeniedError),
        ("403", DeniedError),
        ("404", DeniedError),
        ("429", RetryableExportError),
        ("502", RetryableExportError),
        ("503", RetryableExportError),
        ("504", RetryableExportError),
        ("302", DeniedError),
        ("418", DeniedError),
        ("500", DeniedError),
        ("200", DeniedError),
    ],
)
async def test_answers_that_are_not_grpc(running, http, kind):
    sender, backend = await running()
    backend.on_end = lambda peer, stream: peer.answer(
        stream, b"<html>", status=None, headers=[(":status", http), ("content-type", "text/html")]
    )
    with pytest.raises(ExportError, match=f"the backend answers HTTP {http}") as refused:
        await sender.send(b"x", Signal.TRACES)
    assert type(refused.value) is kind


@pytest.mark.parametrize("status", [None, "", "x", "99", "-1", "1e1", "0" * 50])
async def test_a_status_that_is_none_is_unknown(running, status):
    sender, backend = await running()
    backend.on_end = lambda peer, stream: peer.answer(stream, status=status)
    with pytest.raises(RejectedExportError, match="UNKNOWN"):
        await sender.send(b"x", Signal.TRACES)


def framed(message, flag=0):
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    ("body", "fields", "reply"),
    [
        (framed(b"abc"), [], b"abc"),
        (framed(gzip.compress(b"abc", mtime=0), 1), [("grpc-encoding", "gzip")], b"abc"),
        (framed(gzip.compress(b"abc", mtime=0), 1), [], b""),
        (framed(b"no gzip", 1), [("grpc-encoding", "gzip")], b""),
        (framed(gzip.compress(bytes(30 << 20), mtime=0), 1), [("grpc-encoding", "gzip")], bytes(64 << 10)),
        (b"\0\xff\xff\xff\xffabc", [], b"abc"),
        (b"", [], b""),
        (b"\0\0", [], b""),
    ],
)
async def test_replies_are_read_as_far_as_they_can_be(running, body, fields, reply):
    sender, backend = await running()
    backend.on_end = lambda peer, stream: [
        peer.h2.send_headers(stream, [*GRPC, *fields]),
        *(peer.h2.send_data(stream, body[at : at + 16384]) for at in range(0, len(body), 16384)),
        peer.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True),
        peer.flush(),
    ]
    assert await sender.send(b"x", Signal.TRACES) == reply


# -- too much of an answer


async def test_an_endless_body_is_cut_and_the_connection_goes_on(running):
    sender, backend = await running()
    sent = 0

    def flood(peer, stream):
        nonlocal sent
        if stream not in peer.resets and sent < 1 << 30:
            room = min(peer.h2.local_flow_control_window(stream), 16384)
            if room > 0:
                peer.h2.send_data(stream, bytes(room))
                peer.flush()
                sent += room
            asyncio.get_running_loop().call_soon(flood, peer, stream)

    backend.on_end = lambda peer, stream: [peer.h2.send_headers(stream, GRPC), flood(peer, stream)]
    with pytest.raises(RejectedExportError, match="too long") as refused:
        await sender.send(b"x", Signal.TRACES)
    assert not refused.value.divisible
    await until(lambda: backend.peers[0].resets == {1: 8})
    assert sent < 1 << 20
    backend.on_end = lambda peer, stream: peer.answer(stream)
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 1


async def test_endless_informational_responses_are_cut(running):
    sender, backend = await running()

    def inform(peer, stream):
        if stream not in peer.resets:
            peer.h2.send_headers(stream, [(":status", "103"), ("link", "x" * 1000)])
            peer.flush()
            asyncio.get_running_loop().call_soon(inform, peer, stream)

    backend.on_end = inform
    with pytest.raises(RejectedExportError, match="too long"):
        await sender.send(b"x", Signal.TRACES)


async def test_huge_headers_end_the_connection(running):
    sender, backend = await running()
    block = b"\x88" + b"\x00\x01a\x7f\x80\x7f" + bytes([120]) * (127 + 0x3F80)
    backend.on_end = lambda peer, stream: peer.raw(
        frame(1, 0, stream, block) + frame(9, 0, stream, bytes(16384)) * 100 + frame(9, 4, stream, b"")
    )
    with pytest.raises(RetryableExportError, match="breaks the rules of HTTP/2"):
        await sender.send(b"x", Signal.TRACES)
    backend.on_end = lambda peer, stream: peer.answer(stream)
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 2


async def test_frames_that_nobody_asked_for_end_the_connection(running, monkeypatch):
    monkeypatch.setattr(h2_connection, "_MAX_UNASKED", 100_000)
    sender, backend = await running()
    backend.on_end = lambda peer, _stream: peer.raw(frame(6, 1, 0, bytes(8)) * 10_000)
    with pytest.raises(RetryableExportError, match="without being asked"):
        await sender.send(b"x", Signal.TRACES)


async def test_pings_whose_answers_are_not_read_end_the_connection(running, monkeypatch):
    monkeypatch.setattr(h2_connection, "_MAX_UNREAD", 100_000)
    sender, backend = await running()

    def flood(peer, _stream):
        peer.transport.pause_reading()
        peer.raw(frame(6, 0, 0, bytes(8)) * 600_000)

    backend.on_end = flood
    with pytest.raises(RetryableExportError, match="reads nothing"):
        await sender.send(b"x", Signal.TRACES)


# -- ends of connections


def go_away(peer, last):
    peer.raw(frame(7, 0, 0, last.to_bytes(4, "big") + bytes(4)))


async def test_a_backend_that_goes_away_is_heard_to_the_end(running):
    sender, backend = await running()
    backend.on_end = lambda _peer, _stream: None
    first = asyncio.create_task(sender.send(b"first", Signal.TRACES))
    await until(lambda: backend.peers and 1 in backend.peers[0].bodies)
    second = asyncio.create_task(sender.send(b"second", Signal.TRACES))
    old = backend.peers[0]
    await until(lambda: 3 in old.bodies)
    backend.on_end = lambda peer, stream: peer.answer(stream, framed(b"new"))
    go_away(old, 1)
    assert await second == b"new"
    assert await sender.send(b"third", Signal.TRACES) == b"new"
    assert not first.done()
    old.answer(1, framed(b"old"))
    assert await first == b"old"
    await asyncio.wait_for(old.lost.wait(), 2)
    assert [message_of(backend.peers[1], stream) for stream in (1, 3)] == [b"second", b"third"]


async def test_an_answer_together_with_goaway_counts(running):
    sender, backend = await running()

    def last_words(peer, stream):
        peer.h2.send_headers(stream, [*GRPC, ("grpc-status", "0")], end_stream=True)
        data = peer.h2.data_to_send()
        peer.transport.write(frame(7, 0, 0, (1).to_bytes(4, "big") + bytes(4)) + data)

    backend.on_end = last_words
    assert await sender.send(b"x", Signal.TRACES) == b""
    await asyncio.wait_for(backend.peers[0].lost.wait(), 2)
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 2


async def test_a_backend_that_always_goes_away_is_tried_twice_an_attempt(running):
    sender, backend = await running()
    backend.on_end = lambda peer, _stream: go_away(peer, 0)
    with pytest.raises(RetryableExportError, match="closes the connection"):
        await sender.send(b"x", Signal.TRACES)
    assert len(backend.peers) == 2


async def test_those_who_wait_for_a_stream_move_to_the_next_connection(running):
    sender, backend = await running(H2Backend(max_concurrent_streams=1))
    backend.on_end = lambda _peer, _stream: None
    tasks = [asyncio.create_task(sender.send(b"x", Signal.TRACES)) for _ in range(3)]
    await until(lambda: backend.peers and 1 in backend.peers[0].bodies)
    backend.on_end = lambda peer, stream: peer.answer(stream)
    go_away(backend.peers[0], 1)
    await asyncio.gather(*tasks[1:])
    backend.peers[0].answer(1)
    await tasks[0]
    assert len(backend.peers) == 2


async def test_a_connection_lost_in_flight_leaves_the_outcome_unknown(running):
    sender, backend = await running()
    backend.on_end = lambda peer, _stream: peer.transport.abort()
    with pytest.raises(RetryableExportError, match="whether the data was taken is unknown"):
        await sender.send(b"x", Signal.TRACES)
    backend.on_end = lambda peer, stream: peer.answer(stream)
    assert await sender.send(b"x", Signal.TRACES) == b""


async def test_a_connection_that_ended_while_idle_costs_no_attempt(running):
    sender, backend = await running()
    for _ in range(3):
        assert await sender.send(b"x", Signal.TRACES) == b""
        backend.peers[-1].transport.close()
        await asyncio.sleep(0.02)
    assert len(backend.peers) == 3


async def test_streams_run_out(running):
    sender, backend = await running()
    await sender.send(b"x", Signal.TRACES)
    (connection,) = sender._open
    connection._h2.highest_outbound_stream_id = 2**31 - 1
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 2
    await asyncio.wait_for(backend.peers[0].lost.wait(), 2)


# -- connecting


async def test_failing_connections_are_spaced(running):
    sender, backend = await running()
    backend.on_connect = lambda peer: peer.transport.abort()
    waits = [over_h2._FIRST_WAIT_S * 1.6**failures for failures in range(3)]
    began = time.monotonic()
    while len(backend.peers) < 3:
        with pytest.raises(RetryableExportError, match="UNAVAILABLE"):
            await sender.send(b"x", Signal.TRACES)
        await asyncio.sleep(0.005)
    assert time.monotonic() - began > 0.8 * sum(waits[:2])
    backend.on_connect = None
    await asyncio.sleep(1.2 * waits[2])
    assert await sender.send(b"x", Signal.TRACES) == b""


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100), b"\xff" * 5000, b"220 smtp\r\n"])
async def test_what_is_not_http2_gets_no_request(running, words):
    sender, backend = await running()
    backend.on_connect = lambda peer: peer.transport.write(words)
    with pytest.raises(RetryableExportError, match="does not speak HTTP/2"):
        await sender.send(NOISE[:1000], Signal.TRACES)
    assert backend.received < 200


async def test_a_backend_that_says_nothing(running, monkeypatch):
    monkeypatch.setattr(over_h2, "_CONNECT_S", 0.1)
    sender, backend = await running()
    backend.on_connect = lambda _peer: None
    first, second = await asyncio.gather(
        sender.send(b"x", Signal.TRACES), sender.send(b"x", Signal.TRACES), return_exceptions=True
    )
    assert "in time" in first.reason == second.reason
    assert len(backend.peers) == 1
    await asyncio.wait_for(backend.peers[0].lost.wait(), 2)


async def test_an_attempt_that_is_cancelled_leaves_the_connecting_to_others(running):
    sender, backend = await running()
    first, second = (asyncio.create_task(sender.send(b"x", Signal.TRACES)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b""
    assert len(backend.peers) == 1


async def test_tls_without_http2_gets_no_request(running, pki):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    tls = {"ca_file": str(pki / "ca.pem"), "server_name_override": "localhost"}
    sender, backend = await running(tls=tls, ssl=context)
    with pytest.raises(RetryableExportError, match="does not offer HTTP/2"):
        await sender.send(b"x", Signal.TRACES)
    assert backend.received == 0
    context.set_alpn_protocols(["h2"])
    await asyncio.sleep(0.3)
    backend.on_end = lambda peer, stream: peer.answer(stream, framed(peer.fields[stream][":scheme"].encode()))
    assert await sender.send(NOISE[:1_000_000], Signal.TRACES) == b"https"


async def test_tls_to_plaintext_sends_no_request(running):
    sender, backend = await running(tls={})
    with pytest.raises(RetryableExportError, match=r"TLS|ended"):
        await sender.send(b"x", Signal.TRACES)
    assert [peer.fields for peer in backend.peers] == [{}]


# -- is anybody there?


def deaf(peer):
    peer.transport.pause_reading()


async def test_keepalive_ends_a_silent_connection(running):
    sender, backend = await running(keepalive={"time": "1s", "timeout": "100ms"})
    await sender.send(b"x", Signal.TRACES)
    deaf(backend.peers[0])
    with pytest.raises(RetryableExportError, match="answers no ping"):
        await asyncio.wait_for(sender.send(b"x", Signal.TRACES), 3)
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 2


@pytest.mark.parametrize("idle_too", [True, False])
async def test_keepalive_of_an_idle_connection(running, idle_too):
    sender, backend = await running(keepalive={"time": "1s", "timeout": "100ms", "permit_without_stream": idle_too})
    await sender.send(b"x", Signal.TRACES)
    deaf(backend.peers[0])
    (connection,) = sender._open
    if idle_too:
        await until(connection.closed.is_set)
    else:
        await asyncio.sleep(1.4)
        assert not connection.closed.is_set()


async def test_keepalive_leaves_a_living_connection_alone(running):
    sender, backend = await running(keepalive={"time": "1s", "timeout": "50ms", "permit_without_stream": True})
    await sender.send(b"x", Signal.TRACES)
    seen = backend.received
    await asyncio.sleep(1.3)
    assert backend.received == seen + 17
    await sender.send(b"x", Signal.TRACES)
    assert len(backend.peers) == 1


async def test_an_attempt_without_any_answer_asks_whether_anybody_is_there(running, monkeypatch):
    monkeypatch.setattr(h2_liveness, "PROBE_S", 0.1)
    sender, backend = await running()
    await sender.send(b"x", Signal.TRACES)
    deaf(backend.peers[0])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sender.send(b"x", Signal.TRACES), 0.1)
    (connection,) = sender._open
    await until(connection.closed.is_set)
    assert await sender.send(b"x", Signal.TRACES) == b""
    assert len(backend.peers) == 2


async def test_a_long_silence_is_asked_about_with_the_next_request(running, monkeypatch):
    monkeypatch.setattr(h2_liveness, "PROBE_S", 0.1)
    monkeypatch.setattr(h2_connection, "_STALE_S", 0.02)
    sender, backend = await running()
    await sender.send(b"x", Signal.TRACES)
    await asyncio.sleep(0.03)
    assert await sender.send(b"x", Signal.TRACES) == b""
    deaf(backend.peers[0])
    await asyncio.sleep(0.03)
    with pytest.raises(RetryableExportError, match="answers no ping"):
        await asyncio.wait_for(sender.send(b"x", Signal.TRACES), 1)


# -- stop, and strange bytes


async def test_stop_says_good_bye_and_ends_what_is_under_way(running):
    sender, backend = await running()
    backend.on_end = lambda _peer, _stream: None
    task = asyncio.create_task(sender.send(b"x", Signal.TRACES))
    await until(lambda: backend.peers and backend.peers[0].bodies)
    await sender.stop()
    with pytest.raises(RetryableExportError):
        await task
    await until(lambda: backend.peers[0].goaway)
    with pytest.raises(RetryableExportError, match="not started"):
        await sender.send(b"x", Signal.TRACES)


async def test_stop_while_connecting_and_before_start(running):
    sender, backend = await running()
    backend.on_connect = lambda _peer: None
    task = asyncio.create_task(sender.send(b"x", Signal.TRACES))
    await until(lambda: backend.peers)
    await sender.stop()
    await asyncio.wait([task])
    assert task.cancelled()
    await GrpcSender(OtlpOptions()).stop()


@pytest.mark.parametrize("seed", range(8))
async def test_strange_bytes_raise_export_errors_and_nothing_else(running, seed):
    chance = random.Random(seed)
    sender, backend = await running(timeout="1s")

    def babble(peer, stream):
        words = b""
        for _ in range(chance.randint(1, 6)):
            body = chance.randbytes(chance.choice([0, 1, 4, 5, 6, 8, 12, 40]))
            words += frame(
                chance.randint(0, 12), chance.choice([0, 1, 4, 5, 8, 0x2D]), chance.choice([0, 1, 2, stream]), body
            )
        peer.raw(words)

    backend.on_end = babble
    for _ in range(40):
        sender._not_before = 0.0
        try:
            async with asyncio.timeout(0.03):
                await sender.send(b"x", Signal.TRACES)
        except (ExportError, TimeoutError):
            pass
    backend.on_end = lambda peer, stream: peer.answer(stream)
    sender._not_before = 0.0
    for peer in backend.peers:
        peer.transport.abort()
    await asyncio.sleep(0.01)
    assert await sender.send(os.urandom(9), Signal.TRACES) == b""
