"""The sending half: pace, retries, outcomes; over a made-up transport, and over real sockets to the sink."""

import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Empty
from types import SimpleNamespace

import grpc
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from bench.generator import runner, schedule
from bench.generator.command import generate
from bench.generator.runner import Pace, Runner
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from bench.generator.transport import Answer, GrpcTransport, connect, rejected_items, retry_delay
from bench.ledger import Outcome, SenderLedger, SinkLedger
from bench.quantiles import Latencies
from bench.sink.server import Sink
from bench.truth import Truth, compare

SHAPE = Shape(seed=2, senders=2, batch=20, spans=400)


@pytest.fixture(scope="module")
def traffic():
    return Traffic(SHAPE)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where the runner waits, so that no busy machine costs it any."""
    clock = SimpleNamespace(now=1_000.0, time_ns=time.time_ns)
    clock.monotonic = lambda: clock.now

    class Answers(deque):
        put = deque.append

        def empty(self):
            return not self

        def get_nowait(self):
            if not self:
                raise Empty
            return self.popleft()

        def get(self, timeout):
            clock.now += 0 if self else timeout
            return self.get_nowait()

    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(schedule, "time", clock)
    monkeypatch.setattr(runner, "SimpleQueue", Answers)
    return clock


class Scripted:
    """Answers from a function of (payload, how often it has been seen), at once or never."""

    def __init__(self, script):
        self.script = script
        self.seen = {}
        self.times = []
        self.closed = False
        self.open = []

    def send(self, payload, done, signal="traces"):
        self.seen[payload] = self.seen.get(payload, 0) + 1
        self.times.append(runner.time.monotonic())
        answer = self.script(payload, self.seen[payload])
        if answer is None:
            self.open.append(done)
        else:
            done(answer)

    def close(self):
        self.closed = True
        for done in self.open:
            done(Answer("retry", "CANCELLED", explicit=False))


def run(traffic, script, **pace):
    ledger = SenderLedger(traffic.shape)
    transports = [Scripted(script) for _ in range(traffic.shape.senders)]
    tally = Runner(traffic, transports, Pace(**{"rate": 0, "spans": 200, "drain": 1.0, **pace}), ledger=ledger).run()
    return tally, ledger, transports


def outcomes(ledger):
    return {outcome for outcome, _ in ledger.outcomes.values()}


def test_all_acked_and_no_more_than_asked_for(traffic):
    tally, ledger, transports = run(traffic, lambda *_: Answer("ok"))
    assert (tally.sent, tally.acked, tally.requests) == (200, 200, 10)
    assert outcomes(ledger) == {Outcome.ACKED}
    assert all(transport.closed for transport in transports)


def test_fresh_ids_over_many_cycles(traffic):
    _, ledger, transports = run(traffic, lambda *_: Answer("ok"), spans=2_000)
    assert {cycle for cycle, _ in ledger.outcomes} == {0, 1, 2, 3, 4}
    assert all(count == 1 for transport in transports for count in transport.seen.values())


def test_pace(traffic, clock):
    began = clock.now
    tally, _, transports = run(traffic, lambda *_: Answer("ok"), rate=400, spans=200)
    assert clock.now - began > 0.4
    assert 300 < tally.sent / tally.seconds < 600
    sent = sorted(moment for transport in transports for moment in transport.times)
    assert sent[5] - sent[0] > 0.2


def test_duration_ends_the_run(traffic, clock):
    tally, _, _ = run(traffic, lambda *_: Answer("ok"), rate=1_000, spans=None, duration=0.3)
    assert 100 < tally.sent <= 400


def test_the_same_bytes_are_sent_again_after_the_time_the_server_asked_for(traffic, clock):
    first = Answer("retry", "UNAVAILABLE", retry_after=0.4)
    tally, ledger, transports = run(traffic, lambda _, tries: first if tries == 1 else Answer("ok"), spans=20)
    assert (tally.acked, tally.retries, tally.statuses) == (20, 1, {"UNAVAILABLE": 1})
    assert outcomes(ledger) == {Outcome.ACKED}
    (busy,) = (transport for transport in transports if transport.seen)
    assert list(busy.seen.values()) == [2]
    assert busy.times[1] - busy.times[0] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer("refused", "INVALID_ARGUMENT"), Outcome.REFUSED),
        (Answer("retry", "UNAVAILABLE", retry_after=0.01), Outcome.REFUSED),
        (Answer("retry", "UNAVAILABLE", explicit=False), Outcome.UNKNOWN),
        (Answer("ok", rejected=3), Outcome.UNKNOWN),
    ],
)
def test_what_is_given_up(traffic, answer, outcome):
    tally, ledger, _ = run(traffic, lambda *_: answer, spans=40, retry_for=0.1)
    assert outcomes(ledger) == {outcome}
    assert tally.refused + tally.unknown == tally.sent == 40


def test_one_silent_attempt_makes_a_later_refusal_unknown(traffic):
    def script(_, tries):
        return Answer("retry", "DEADLINE_EXCEEDED", explicit=False) if tries == 1 else Answer("refused", "INTERNAL")

    _, ledger, _ = run(traffic, script, spans=20)
    assert outcomes(ledger) == {Outcome.UNKNOWN}


def test_what_never_answers_is_bounded_in_flight_and_unknown_in_the_end(traffic):
    tally, ledger, transports = run(traffic, lambda *_: None, spans=400, duration=0.3, drain=0.1, in_flight=2)
    assert max(len(transport.open) for transport in transports) <= 2
    assert outcomes(ledger) == {Outcome.UNKNOWN}
    assert tally.in_flight == 0


def test_stop_ends_the_sending(traffic):
    running = Runner(traffic, [Scripted(lambda *_: Answer("ok")) for _ in range(2)], Pace(rate=100, duration=30))
    threading.Timer(0.3, running.stop).start()
    began = time.monotonic()
    assert running.run().sent < 400
    assert time.monotonic() - began < 3


def test_very_late_requests_come_after_their_time(clock):
    traffic = Traffic(Shape(seed=2, senders=1, batch=10, spans=100, mix=Mix(very_late=0.2)))
    tally, _, (transport,) = run(traffic, lambda *_: Answer("ok"), spans=100, late_by=0.5)
    assert tally.sent == 100
    late = sum(request.late for request in traffic.requests)
    assert late
    on_time = transport.times[: len(traffic.requests) - late]
    assert min(transport.times[len(on_time) :]) - on_time[0] >= 0.5


@pytest.fixture
def sink(tmp_path):
    sink = Sink(0, tmp_path / "sink.ids")
    yield sink
    sink.close()


@pytest.mark.parametrize("compress", [False, True])
def test_what_arrives_is_what_was_sent(traffic, sink, tmp_path, compress):
    ledger = SenderLedger(SHAPE)
    transports = connect("grpc", f"127.0.0.1:{sink.port}", 2, compress=compress)
    tally = Runner(traffic, transports, Pace(rate=0, spans=1_000), ledger=ledger).run()
    assert tally.acked == 1_000
    stats = sink.stats()
    assert (stats["spans"], stats["requests"]) == (1_000, 50)
    report = compare(
        Truth(ledger.sent(traffic), everything=True), SinkLedger.from_records(tmp_path / "sink.ids"), keep_share=1.0
    )
    assert report.holds
    assert report.duplicates == 0


def test_the_kernel_counts_the_bytes(traffic, sink):
    def send(compress):
        sink.reset()
        transport = GrpcTransport(f"127.0.0.1:{sink.port}", timeout=5, compress=compress)
        answered = threading.Event()
        transport.send(traffic.requests[0].encode(0, traffic.ends(0, 1)), lambda _: answered.set())
        assert answered.wait(5)
        count = sink.stats()["tcp_bytes"]
        transport.close()
        return count

    plain, compressed = send(False), send(True)
    size = traffic.requests[0].size
    assert size < plain < size + 2_000
    assert 0 < compressed < plain / 2


def test_an_absent_server_is_retried_and_then_unknown(traffic):
    tally = Runner(traffic, connect("grpc", "127.0.0.1:1", 2), Pace(rate=0, spans=40, retry_for=0.5)).run()
    assert tally.unknown == 40
    assert tally.retries
    assert set(tally.statuses) == {"UNAVAILABLE"}


class Web(BaseHTTPRequestHandler):
    replies = []  # noqa: RUF012 - set anew by the test
    seen = []  # noqa: RUF012 - same

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, self.headers["content-encoding"], len(body)))
        status, headers = self.replies.pop(0) if self.replies else (200, {})
        self.send_response(status)
        for name, value in {"content-length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_http(traffic):
    server = HTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Web.replies, Web.seen = [(503, {"retry-after": "0"}), (400, {})], []
    try:
        transports = connect("http", f"127.0.0.1:{server.server_port}", 2, compress=True)
        tally = Runner(traffic, transports, Pace(rate=0, spans=80)).run()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert tally.statuses == {"503": 1, "400": 1}
    assert (tally.acked, tally.refused) == (60, 20)
    assert {(path, encoding) for path, encoding, _ in Web.seen} == {("/v1/traces", "gzip")}


def status_with(seconds, nanos):
    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    duration = bytes([8, seconds, 16]) + bytes([nanos & 0x7F | 0x80, nanos >> 7 & 0x7F | 0x80, nanos >> 14])
    detail = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, duration))
    return bytes([8, 14]) + field(2, b"busy") + field(3, detail)


def test_retry_info_is_read_and_nonsense_is_not():
    assert retry_delay(status_with(2, 500_000)) == pytest.approx(2.0005)
    assert retry_delay(b"") is None
    assert retry_delay(b"\x1a\xff") is None
    assert retry_delay(status_with(2, 500_000)[:-2]) is None


def test_retry_info_of_a_real_server(traffic):
    def refuse(_, context):
        context.set_trailing_metadata((("grpc-status-details-bin", status_with(3, 0)),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")

    answers = []
    answered = threading.Event()
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    handler = grpc.method_handlers_generic_handler(service, {"Export": grpc.unary_unary_rpc_method_handler(refuse)})
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1), handlers=(handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    (transport,) = connect("grpc", f"127.0.0.1:{port}", 1)
    transport.send(b"", lambda answer: (answers.append(answer), answered.set()))
    assert answered.wait(5)
    transport.close()
    server.stop(0).wait()
    assert answers == [Answer("retry", "RESOURCE_EXHAUSTED", 3.0)]


def test_partial_success_is_read():
    response = ExportTraceServiceResponse()
    assert rejected_items(response.SerializeToString()) == 0
    response.partial_success.rejected_spans = 300
    response.partial_success.error_message = "some"
    assert rejected_items(response.SerializeToString()) == 300


def test_latencies():
    latencies = Latencies()
    assert latencies.quantile(0.5) == 0.0
    for millisecond in range(1, 101):
        latencies.add(millisecond / 1000)
    assert latencies.quantile(0.5) == pytest.approx(0.05, rel=0.01)
    assert latencies.quantile(0.99) == pytest.approx(0.099, rel=0.01)
    assert latencies.quantile(1.0) == pytest.approx(0.1, rel=0.01)


def test_command(sink, tmp_path):
    options = [
        "--endpoint",
        f"127.0.0.1:{sink.port}",
        "--rate",
        "0",
        "--spans",
        "1000",
        "--seed",
        "4",
        "--cycle",
        "800",
    ]
    files = ["--ledger", str(tmp_path / "sent.jsonl"), "--truth", str(tmp_path / "truth.jsonl")]
    run = CliRunner().invoke(generate, [*options, *files])
    assert run.exit_code == 0, run.output
    assert "acked 1,000, refused 0, unknown 0" in run.output
    assert sink.stats()["spans"] == 1_000
    lines = [json.loads(line) for line in Path(tmp_path / "truth.jsonl").read_text().splitlines()]
    assert sum(line["spans"] for line in lines) == 1_000
    assert SenderLedger.read(tmp_path / "sent.jsonl").shape.seed == 4


def test_command_as_json_and_a_failed_run():
    arguments = ["--endpoint", "127.0.0.1:1", "--spans", "100", "--cycle", "100", "--retry-for", "100ms", "--json"]
    run = CliRunner().invoke(generate, arguments)
    assert run.exit_code == 1
    totals = json.loads(run.output)
    assert (totals["sent"], totals["unknown"]) == (100, 100)


@pytest.mark.parametrize("duration", ["0s", "25h", "soon", "5", "1m30s"])
def test_durations_are_bounded(duration):
    run = CliRunner().invoke(generate, ["--duration", duration, "--endpoint", "127.0.0.1:1", "--senders", "0"])
    assert run.exit_code == 2
    assert ("--duration" in run.output) == (duration in {"0s", "25h", "soon"})
