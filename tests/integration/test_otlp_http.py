"""The HTTP listener, with real clients."""

import asyncio
import gzip
import json
import socket
import time
import zlib

import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otlp_harness import FakeIntake, abort, payload, post, raw, request, serving
from otlp_signals import LOGS, METRICS, SENDERS

from collector.api import Outcome

JSON = {"Content-Type": "application/json"}
SPAN = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "EEE19B7EC3C1B174",
    "name": "I'm a server span",
    "startTimeUnixNano": "1544712660000000000",
    "kind": 2,
    "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}],
    "unheardOf": {"deep": [1, 2, 3]},
}


def as_json(*spans):
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
async def test_the_sdk_delivers(compression):
    async with serving() as running:

        def send():
            provider = TracerProvider()
            endpoint = f"http://127.0.0.1:{running.ports['http']}/v1/traces"
            exporter = OTLPSpanExporter(endpoint=endpoint, compression=compression)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("test").start_as_current_span("inference.request"):
                pass
            provider.shutdown()

        await asyncio.to_thread(send)
        assert [span.name for span in running.intake.spans] == ["inference.request"]
        assert running.outcomes() == {("http", "ok"): 1}


@pytest.mark.parametrize("items", [1, 5000], ids=["on the loop", "in a thread"])
@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("GZIP", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("zstd", lambda data: b"".join(zstandard.ZstdCompressor().compress(d) for d in (data[:9], data[9:]))),
    ],
)
async def test_every_encoding_arrives_as_the_same_bytes(encoding, compress, items):
    async with serving() as running:
        for sender in SENDERS:
            body = compress(sender.payload(items))
            headers = {"Content-Encoding": encoding}
            answer = await asyncio.to_thread(post, running.ports["http"], body, headers=headers, path=sender.path)
            assert answer[0] == 200
            assert answer[2] == b""
            assert answer[1]["Content-Type"] == "application/x-protobuf"
        assert running.intake.taken == [(sender.payload(items), items) for sender in SENDERS]


async def test_json_is_answered_with_json():
    async with serving() as running:
        answer = await asyncio.to_thread(post, running.ports["http"], as_json(SPAN), headers=JSON)
        assert answer[0] == 200
        assert answer[1]["Content-Type"] == "application/json"
        assert json.loads(answer[2]) == {}
        (span,) = running.intake.spans
        assert span.trace_id.hex() == SPAN["traceId"].lower()
        assert (span.name, span.kind) == (SPAN["name"], 2)


async def test_rejected_spans_in_json():
    async with serving() as running:
        body = as_json(SPAN, {**SPAN, "traceId": ""})
        answer = await asyncio.to_thread(post, running.ports["http"], body, headers=JSON)
        partial = json.loads(answer[2])["partialSuccess"]
        assert partial["rejectedSpans"] == "1"
        assert "16 bytes" in partial["errorMessage"]
        assert running.refusals() == {"bad_id": 1}


POINT = (
    '{"name":"tokens","sum":{"isMonotonic":true,"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","dataPoints":'
    '[{"asInt":"-9007199254740993"},{"asDouble":"NaN"},{"asDouble":-0.5,"exemplars":[{"traceId":'
    '"5b8efff798038103d269b633813fc60c","spanId":"EEE19B7EC3C1B174","asInt":3}]}]},"unheardOf":[{}]}'
)
RECORD = (
    '{"severityNumber":"SEVERITY_NUMBER_WARN","traceId":"5b8efff798038103d269b633813fc60c","flags":1,'
    '"body":{"bytesValue":"AAEC"},"unheardOf":{"deep":[1,2,3]}}'
)


async def test_metrics_in_json():
    async with serving() as running:
        answer = await asyncio.to_thread(
            post, running.ports["http"], METRICS.json(POINT), headers=JSON, path=METRICS.path
        )
        assert (answer[0], answer[1]["Content-Type"], answer[2]) == (200, "application/json", b"{}")
        ((taken, count),) = running.intake.taken
        assert count == 3
        (metric,) = METRICS.request_class.FromString(taken).resource_metrics[0].scope_metrics[0].metrics
        first, second, third = metric.sum.data_points
        assert (metric.name, metric.sum.aggregation_temporality, metric.sum.is_monotonic) == ("tokens", 1, True)
        assert (first.as_int, third.as_double) == (-9007199254740993, -0.5)
        assert second.as_double != second.as_double
        assert third.exemplars[0].trace_id.hex() == "5b8efff798038103d269b633813fc60c"
        assert third.exemplars[0].span_id.hex() == "eee19b7ec3c1b174"
        assert running.signals() == {"metrics": 1}


async def test_logs_in_json():
    async with serving() as running:
        answer = await asyncio.to_thread(post, running.ports["http"], LOGS.json(RECORD), headers=JSON, path=LOGS.path)
        assert (answer[0], answer[1]["Content-Type"], answer[2]) == (200, "application/json", b"{}")
        ((taken, count),) = running.intake.taken
        assert count == 1
        (record,) = LOGS.request_class.FromString(taken).resource_logs[0].scope_logs[0].log_records
        assert (record.severity_number, record.flags, record.body.bytes_value) == (13, 1, b"\0\1\2")
        assert record.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
        assert running.signals() == {"logs": 1}


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_a_refusal_for_good_has_its_signals_own_name(sender):
    item = {"traces": json.dumps(SPAN), "metrics": POINT, "logs": RECORD}[str(sender)]
    count = 3 if sender is METRICS else 1
    async with serving(FakeIntake(Outcome.REJECTED)) as running:
        port = running.ports["http"]
        _, _, body = await asyncio.to_thread(post, port, sender.json(item), headers=JSON, path=sender.path)
        assert json.loads(body)["partialSuccess"][sender.rejected_json] == str(count)
        code, _, body = await asyncio.to_thread(post, port, sender.payload(4), path=sender.path)
        assert (code, sender.answer(body)[0]) == (200, 4)
        assert running.refusals() == {"undeliverable": count + 4}


async def test_rejected_spans_in_protobuf():
    message = request(2)
    message.resource_spans[0].scope_spans[0].spans[0].span_id = b"short"
    async with serving() as running:
        answer = await asyncio.to_thread(post, running.ports["http"], message.SerializeToString())
        assert ExportTraceServiceResponse.FromString(answer[2]).partial_success.rejected_spans == 1
        assert running.intake.taken[0][1] == 1


@pytest.mark.parametrize("headers", [{}, JSON])
async def test_an_empty_body(headers):
    async with serving() as running:
        status, _, _ = await asyncio.to_thread(post, running.ports["http"], b"", headers=headers)
        # Zero bytes are an empty protobuf message, but not a JSON document.
        assert status == (400 if headers else 200)
        assert running.intake.taken == []


@pytest.mark.parametrize(("outcome", "room"), [(Outcome.RETRY, 1 << 40), (Outcome.DELIVERED, 10)])
async def test_come_back_later_is_503_with_retry_after(outcome, room):
    async with serving(FakeIntake(outcome, room=room)) as running:
        wait = 1.0 if outcome is Outcome.RETRY else 2.5
        code, headers, body = await asyncio.to_thread(post, running.ports["http"], payload())
        assert (code, headers["Retry-After"]) == (503, "1" if wait == 1.0 else "3")
        assert headers["Content-Type"] == "application/x-protobuf"
        status = Status.FromString(body)
        info = RetryInfo()
        assert status.details[0].Unpack(info)
        assert info.retry_delay.ToTimedelta().total_seconds() == wait
        code, headers, body = await asyncio.to_thread(post, running.ports["http"], as_json(SPAN), headers=JSON)
        assert (code, headers["Content-Type"]) == (503, "application/json")
        assert json.loads(body)["details"][0]["retryDelay"] == ("1s" if wait == 1.0 else "2.500000000s")
        assert running.refusals() == {"returned" if room > 10 else "overloaded": 2}


async def test_no_answer_in_time_asks_to_send_again():
    async with serving(FakeIntake(None), ack_timeout="100ms") as running:
        code, headers, _ = await asyncio.to_thread(post, running.ports["http"], payload())
        assert (code, headers["Retry-After"]) == (503, "1")
        assert running.refusals() == {"late": 1}


@pytest.mark.parametrize(
    ("change", "code", "outcome", "header"),
    [
        ({"path": "/v1/profiles"}, 404, "not_served", None),
        ({"path": "/v1/traces/"}, 404, "not_served", None),
        ({"path": "//v1/traces"}, 404, "not_served", None),
        ({"method": "GET"}, 405, "wrong_method", ("Allow", "POST")),
        ({"method": "OPTIONS"}, 405, "wrong_method", ("Allow", "POST")),
        ({"headers": {"Content-Type": "text/plain"}}, 415, "unsupported", None),
        ({"headers": {"Content-Encoding": "br"}}, 415, "unsupported", ("Accept-Encoding", "gzip, zstd, deflate")),
        ({"headers": {"Content-Encoding": "gzip, gzip"}}, 415, "unsupported", None),
    ],
)
async def test_what_is_not_served(change, code, outcome, header):
    async with serving() as running:
        answer = await asyncio.to_thread(post, running.ports["http"], payload(), **change)
        assert answer[0] == code
        if header is not None:
            assert answer[1][header[0]] == header[1]
        assert answer[1]["Server"] == "butterfly"
        assert running.refusals() == {outcome: 1}


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_a_signal_that_no_pipeline_takes_is_not_found(sender):
    async with serving(signals=[each.signal for each in SENDERS if each is not sender]) as running:
        code, _, body = await asyncio.to_thread(post, running.ports["http"], sender.payload(), path=sender.path)
        assert code == 404
        assert "pipeline" in Status.FromString(body).message
        assert running.refusals() == {"not_served": 1}
        assert running.signals() == {"none": 1}
        assert running.intake.asked == []
        for other in SENDERS:
            if other is not sender:
                assert (await asyncio.to_thread(post, running.ports["http"], b"", path=other.path))[0] == 200


async def test_the_paths_are_the_configurations_choice():
    options = {f"{sender}_url_path": f"/otlp/{sender}" for sender in SENDERS}
    async with serving(http_options=options) as running:
        for sender in SENDERS:
            port, data = running.ports["http"], sender.payload(2)
            assert (await asyncio.to_thread(post, port, data, path=f"/otlp/{sender}"))[0] == 200
            assert (await asyncio.to_thread(post, port, data, path=sender.path))[0] == 404
        assert running.intake.taken == [(sender.payload(2), 2) for sender in SENDERS]


async def test_a_sender_that_asks_before_it_sends_is_told_to_go_on():
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    head += b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(payload())
    async with serving() as running:
        got = await asyncio.to_thread(raw, running.ports["http"], head, payload(), pause=0.1)
        assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert len(running.intake.taken) == 1


async def test_chunked_bodies_are_admitted_as_they_grow():
    data = payload(20_000)

    async with serving() as running:
        answer = await asyncio.to_thread(
            post, running.ports["http"], iter([data[i : i + 50_000] for i in range(0, len(data), 50_000)])
        )
        assert answer[0] == 200
        assert running.intake.taken == [(data, 20_000)]
        assert running.intake.asked == [64 << 10]
    async with serving(FakeIntake(room=200_000)) as running:
        answer = await asyncio.to_thread(post, running.ports["http"], iter([data]))
        assert answer[0] == 503
        assert running.refusals() == {"overloaded": 1}


async def test_a_big_request_does_not_hold_up_the_loop():
    async with serving() as running:
        big = asyncio.create_task(asyncio.to_thread(post, running.ports["http"], payload(150_000)))
        longest = 0.0
        while not big.done():
            began, used = time.monotonic(), time.process_time()
            await asyncio.sleep(0.005)
            # Where the process didn't compute meanwhile, the machine was busy with others.
            longest = max(longest, min(time.monotonic() - began, time.process_time() - used))
        assert big.result()[0] == 200
        assert longest < 0.25


async def test_stop_answers_what_was_taken():
    intake = FakeIntake(delay=0.3)
    async with serving(intake) as running:
        sent = asyncio.create_task(asyncio.to_thread(post, running.ports["http"], payload()))
        while not intake.taken:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await running.receiver.stop()
        assert time.monotonic() - began < 2
        assert (await sent)[0] == 200
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(post, running.ports["http"], payload())


async def test_stop_does_not_wait_for_what_never_ends(monkeypatch):
    monkeypatch.setattr("receivers.otlp.receiver.GRACE_SECONDS", 0.2)
    intake = FakeIntake(None)
    async with serving(intake) as running:
        sent = asyncio.create_task(asyncio.to_thread(post, running.ports["http"], payload()))
        while not intake.taken:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await running.receiver.stop()
        assert time.monotonic() - began < 2
        assert (await sent)[0] == 503


async def test_a_port_in_use_is_an_error_that_names_the_endpoint():
    async with serving() as running:
        port = running.ports["http"]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}: the port is in use"):
            async with serving(http_options={"endpoint": f"127.0.0.1:{port}"}):
                pytest.fail("two servers on one port")


async def test_cors_only_where_it_is_configured():
    cors = {"allowed_origins": ["https://*.example"], "allowed_headers": ["X-Team"], "max_age": 600}
    ours, theirs = {"Origin": "https://app.example"}, {"Origin": "https://evil.test"}
    async with serving(http_options={"cors": cors}) as running:
        port = running.ports["http"]
        code, headers, _ = await asyncio.to_thread(post, port, method="OPTIONS", headers=ours)
        assert code == 204
        assert headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert headers["Access-Control-Allow-Headers"] == "Content-Type, X-Team"
        assert headers["Access-Control-Max-Age"] == "600"
        _, headers, _ = await asyncio.to_thread(post, port, payload(), headers=ours)
        assert headers["Access-Control-Allow-Origin"] == "https://app.example"
        _, headers, _ = await asyncio.to_thread(post, port, payload(), headers=theirs)
        assert "Access-Control-Allow-Origin" not in headers
    async with serving() as running:
        _, headers, _ = await asyncio.to_thread(post, running.ports["http"], payload(), headers=ours)
        assert "Access-Control-Allow-Origin" not in headers


async def test_a_long_wait_for_an_answer_is_not_taken_for_slow_headers():
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    head += b"Content-Length: %d\r\n" % len(payload())
    options = {"read_header_timeout": "500ms"}
    async with serving(FakeIntake(delay=0.7), http_options=options) as running:
        pieces = [head[:20], head[20:], b"Connection: close\r\n\r\n" + payload()[:9], payload()[9:]]
        got = await asyncio.to_thread(raw, running.ports["http"], *pieces, wait=10, pause=0.02)
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(running.intake.taken) == 1


HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000000\r\n"


async def test_whoever_asks_to_go_on_and_vanishes_gives_the_room_back():
    async with serving() as running:
        senders = [socket.create_connection(("127.0.0.1", running.ports["http"])) for _ in range(10)]
        await asyncio.sleep(0.1)
        for sock in senders:
            sock.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
            abort(sock)
        async with asyncio.timeout(10):
            while len(running.intake.asked) < 10 or running.intake.open:
                await asyncio.sleep(0.01)
        assert len(running.intake.asked) == 10
        assert (running.intake.open, running.intake.granted) == (0, 0)


async def test_stop_does_not_wait_for_a_body_that_never_ends(monkeypatch):
    monkeypatch.setattr("receivers.otlp.receiver.GRACE_SECONDS", 0.2)
    async with serving() as running:
        with socket.create_connection(("127.0.0.1", running.ports["http"])) as sock:
            sock.sendall(HEAD + b"\r\nab")
            while not running.intake.asked:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            await running.receiver.stop()
            assert time.monotonic() - began < 2


async def test_a_decoder_that_breaks_is_answered_and_gives_the_room_back(monkeypatch):
    def breaks(_encoding, _body):
        raise MemoryError

    monkeypatch.setattr("receivers.otlp.http_body.steps", breaks)
    async with serving() as running:
        for size in (10, 100_000):  # on the loop, and in a thread
            headers = {"Content-Encoding": "gzip"}
            assert (await asyncio.to_thread(post, running.ports["http"], b"x" * size, headers=headers))[0] == 500
        assert running.intake.open == 0
