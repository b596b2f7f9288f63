"""A run of all three signals: in what proportion, in what order, and that its ledger tells every byte of it."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.command import generate
from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.generator.runner import Pace, Runner
from bench.generator.traffic import Shape, Traffic
from bench.generator.transport import Answer, connect
from bench.ledger import Outcome, SenderLedger
from bench.otlp_items import points, records
from bench.sink.server import Sink

ALL = ("traces", "metrics", "logs")
SHAPE = Shape(
    seed=6,
    senders=2,
    batch=20,
    spans=800,
    logs=LogShape(records=200, batch=30),
    metrics=MetricShape(series=1_000, batch=300, explode=150),
)


@pytest.fixture(scope="module")
def traffic():
    return Traffic(SHAPE)


class Recorder:
    """Answers at once by a script, and writes down what it was sent."""

    def __init__(self, script):
        self.script = script
        self.sent = []
        self.open = []

    def send(self, payload, done, signal="traces"):
        self.sent.append((signal, payload))
        answer = self.script(signal)
        if answer is None:
            self.open.append(done)
        else:
            done(answer)

    def close(self):
        for done in self.open:
            done(Answer("retry", "CANCELLED", explicit=False))


def run(traffic, script=lambda _: Answer("ok"), signals=ALL, **pace):
    ledger = SenderLedger(traffic.shape)
    transports = [Recorder(script) for _ in range(traffic.shape.senders)]
    runner = Runner(
        traffic,
        transports,
        Pace(**{"rate": 0, "spans": 2_400, "points": 20_000, "drain": 1.0, **pace}),
        ledger=ledger,
        signals=signals,
    )
    return runner.run(), ledger, [sent for transport in transports for sent in transport.sent]


def again(ledger, traffic):
    """Every payload of a run, made from its ledger."""
    made = []
    for (cycle, index), _ in ledger.outcomes.items():
        ends = ledger.clock.ends(cycle, traffic.position)
        made.append(("traces", traffic.requests[index].encode(cycle, ends)))
    for (cycle, index), _ in ledger.logs.items():
        made.append(("logs", traffic.logs.requests[index].encode(cycle, ledger.clock)))
    before = {}
    for (_, index), (_, _, moment) in sorted(ledger.reports.items()):
        made.append(("metrics", traffic.metrics.requests[index].encode(moment, before.get(index), ledger.clock)))
        before[index] = moment
    return made


@pytest.mark.parametrize("temporality", ["cumulative", "mixed"])
def test_the_ledger_tells_every_byte_of_the_run(temporality, tmp_path):
    metrics = MetricShape(series=1_000, batch=300, explode=150, temporality=temporality)
    traffic = Traffic(Shape(**{**{k: getattr(SHAPE, k) for k in SHAPE.__dataclass_fields__}, "metrics": metrics}))
    _, ledger, sent = run(traffic)
    ledger.write(tmp_path / "sent.jsonl")
    read = SenderLedger.read(tmp_path / "sent.jsonl")
    assert (read.shape, read.outcomes, read.logs, read.reports) == (
        ledger.shape,
        ledger.outcomes,
        ledger.logs,
        ledger.reports,
    )
    assert read.clock.cycles == ledger.clock.cycles
    assert sorted(again(read, Traffic(read.shape))) == sorted(sent)


def test_rates_are_in_proportion(traffic):
    tally, _, _ = run(traffic)
    counts = tally.signals
    assert counts["traces"].sent == counts["traces"].acked == 2_400
    assert counts["logs"].sent == 3 * traffic.logs.records
    # 0.24 s of the schedule at 20,000 points/s, rounded up to a request, and everything but the explosion at the end.
    flushed = traffic.metrics.series - SHAPE.metrics.explode
    planned = counts["metrics"].sent - flushed
    assert 4_800 <= planned < 4_800 + 300
    assert tally.sent == tally.acked == sum(each.sent for each in counts.values())


def test_a_part_of_a_cycle_takes_its_part_of_the_logs(traffic):
    tally, _, _ = run(traffic, spans=1_000)
    assert 250 - 2 * 30 <= tally.signals["logs"].sent <= 250


@pytest.mark.parametrize("rate", [0, 4_000])
def test_nothing_is_of_the_future(traffic, rate):
    times = []

    class Watching(Recorder):
        def send(self, payload, done, signal="traces"):
            times.append((time.time_ns(), signal, payload))
            super().send(payload, done, signal)

    transports = [Watching(lambda _: Answer("ok")) for _ in range(2)]
    Runner(traffic, transports, Pace(rate=rate, points=20_000, spans=2_400), signals=ALL).run()
    for at, signal, payload in times:
        if signal == "traces":
            ends = [span.end_time_unix_nano for span in spans_of(ExportTraceServiceRequest.FromString(payload))]
        elif signal == "logs":
            ends = [item.time for item in records(ExportLogsServiceRequest.FromString(payload))]
        else:
            found = list(points(ExportMetricsServiceRequest.FromString(payload)))
            ends = [point.time for point in found]
            assert all(each.time <= point.time for point in found for each in point.exemplars)
        assert max(ends) <= at


def spans_of(message):
    return [span for group in message.resource_spans for scope in group.scope_spans for span in scope.spans]


def test_signals_are_interleaved(traffic):
    _, _, sent = run(traffic, spans=1_600)
    for signal in ALL:
        places = [place for place, (each, _) in enumerate(sent[: len(sent) // 2]) if each == signal]
        assert places[0] < 8
        assert places[-1] > len(sent) // 2 * 0.6


def test_the_last_report_is_of_all_that_was_sent(traffic):
    _, ledger, _ = run(traffic)
    last = {}
    for (number, index), (_, _, moment) in sorted(ledger.reports.items()):
        last[index] = (number, moment.cycle, moment.index)
    regular = [index for index, request in enumerate(traffic.metrics.requests) if hasattr(request, "_slots")]
    assert {last[index][1:] for index in regular} == {(3, 0)}


@pytest.mark.parametrize("signals", [("metrics",), ("logs",), ("metrics", "logs"), ("traces", "logs")])
def test_what_is_not_asked_for_is_not_sent_but_goes_on(traffic, signals):
    tally, ledger, sent = run(traffic, signals=signals)
    assert {signal for signal, _ in sent} == set(signals) == set(tally.signals)
    if "metrics" in signals:
        assert max(moment.cycle for _, _, moment in ledger.reports.values()) == 3
    if "logs" in signals:
        assert tally.signals["logs"].sent == 3 * traffic.logs.records


def test_a_report_waits_for_the_one_before_it(traffic):
    tally, ledger, sent = run(
        traffic, lambda signal: None if signal == "metrics" else Answer("ok"), duration=0.5, drain=0.2
    )
    reports = [payload for signal, payload in sent if signal == "metrics"]
    assert len(reports) <= len(traffic.metrics.requests)
    assert len({index for _, index in ledger.reports}) == len(reports)
    assert {outcome for outcome, _, _ in ledger.reports.values()} == {Outcome.UNKNOWN}
    assert tally.in_flight == 0


def test_outcomes_are_kept_by_signal(traffic):
    answers = {"traces": Answer("ok"), "logs": Answer("refused", "UNIMPLEMENTED"), "metrics": Answer("ok", rejected=2)}
    tally, ledger, _ = run(traffic, answers.__getitem__)
    assert {outcome for outcome, _ in ledger.outcomes.values()} == {Outcome.ACKED}
    assert {outcome for outcome, _ in ledger.logs.values()} == {Outcome.REFUSED}
    assert {outcome for outcome, _, _ in ledger.reports.values()} == {Outcome.UNKNOWN}
    counts = tally.signals
    assert counts["logs"].refused == counts["logs"].sent
    assert counts["metrics"].unknown == counts["metrics"].sent
    assert counts["metrics"].rejected == 2 * counts["metrics"].requests


@pytest.fixture
def sink():
    sink = Sink(0)
    yield sink
    sink.close()


def test_the_sink_counts_all_three(traffic, sink):
    transports = connect("grpc", f"127.0.0.1:{sink.port}", 2)
    tally = Runner(traffic, transports, Pace(rate=0, spans=800, points=20_000), signals=ALL).run()
    assert tally.acked == tally.sent
    stats = sink.stats()
    found = tuple(stats[name] for name in ("spans", "points", "records", "requests"))
    wanted = tuple(tally.signals[signal].sent for signal in ALL)
    assert found == (*wanted, tally.requests)


class Web(BaseHTTPRequestHandler):
    seen = []  # noqa: RUF012 - set anew by the test

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_http_has_a_path_for_each(traffic):
    server = HTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Web.seen = []
    try:
        transports = connect("http", f"127.0.0.1:{server.server_port}", 2)
        tally = Runner(traffic, transports, Pace(rate=0, spans=400, points=20_000), signals=ALL).run()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert tally.acked == tally.sent
    assert set(Web.seen) == {"/v1/traces", "/v1/metrics", "/v1/logs"}


def command(sink, *options):
    common = ["--endpoint", f"127.0.0.1:{sink.port}", "--seed", "4", "--cycle", "800", "--rate", "0", "--spans", "800"]
    return CliRunner().invoke(generate, [*common, *options])


def test_command(sink, tmp_path):
    ledger = tmp_path / "sent.jsonl"
    options = [
        "--signals",
        "all",
        "--series",
        "500",
        "--explode",
        "40",
        "--temporality",
        "mixed",
        "--logs-rate",
        "1000",
    ]
    run = command(sink, *options, "--ledger", str(ledger))
    assert run.exit_code == 0, run.output
    assert "800 spans in" in run.output
    assert "80 records in" in run.output
    shape = SenderLedger.read(ledger).shape
    assert shape.metrics == MetricShape(500, 1000, "mixed", 40)
    assert shape.logs.records == 80


def test_command_as_json_tells_each_signal_apart(sink):
    run = command(sink, "--signals", "logs,traces", "--json")
    totals = json.loads(run.output)
    assert totals["signals"]["traces"]["acked"] == 800
    assert totals["signals"]["logs"]["acked"] >= 160
    assert totals["sent"] == sum(counts["sent"] for counts in totals["signals"].values())


@pytest.mark.parametrize("wrong", ["spans", "traces,", "all,logs", ""])
def test_command_knows_its_signals(sink, wrong):
    run = command(sink, "--signals", wrong)
    assert run.exit_code == 2
    assert "--signals" in run.output


def test_command_bounds_the_logs(sink):
    run = command(sink, "--signals", "logs", "--logs-rate", "1000000")
    assert run.exit_code == 2
    assert "--logs-rate" in run.output
