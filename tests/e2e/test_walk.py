"""The three pillars as one system: every step from a metric to a trace to its lines and back leads somewhere."""

import random
import time

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pillars import decision_wait_of, post, request_of, three_pillars
from traffic import Sending
from walk import (
    ERROR,
    Sent,
    assert_exemplars_lead_to_traces,
    assert_only_what_follows_its_trace,
    assert_traces_lead_to_lines,
    assert_whole,
    calls_in,
    lines_of,
    names_request,
    pointers,
    spans_in,
    trace_of,
    uid_in,
    without_request_id,
)

from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.log_truth import uid
from tests.conftest import needed
from tests.servers.prometheus_server import Prometheus
from tests.servers.victoria_logs_server import VictoriaLogs


@pytest.fixture
def backends(tmp_path, jaeger):
    """Prometheus and VictoriaLogs of the test's own, beside the module's Jaeger. Prometheus takes what comes late."""
    prometheus = needed(lambda: Prometheus(tmp_path / "prometheus", out_of_order="10m"))
    victoria_logs = needed(lambda: VictoriaLogs(tmp_path / "victoria-logs"))
    with prometheus, victoria_logs:
        yield prometheus, victoria_logs, jaeger


def often(config):
    """Reports of spans come in time for a short test."""
    config["connectors"]["span_metrics"]["metrics_flush_interval"] = "1s"


def gateway_before(folder, backends, decision_wait="2s"):
    prometheus, victoria_logs, jaeger = backends
    return three_pillars(
        folder,
        prometheus.port,
        victoria_logs.port,
        jaeger.otlp,
        decision_wait=decision_wait,
        change=often,
        whole=True,
    )


def send(gateway, seed):
    return Sending(
        gateway.grpc,
        seed=seed,
        cycle=1500,
        rate=1000,
        points=1000,
        duration=3.0,
        logs=LogShape(records=400, batch=50),
        metrics=MetricShape(series=600, batch=200),
    )


def counted(prometheus, wanted, within=30.0):
    """What Prometheus says once it says as much, or in the end."""
    give_up = time.monotonic() + within
    while True:
        found = calls_in(prometheus, time.time() + 60)
        if sum(found.values()) >= sum(wanted.values()) or time.monotonic() > give_up:
            return found
        time.sleep(0.2)


def test_every_step_of_the_walk_leads_somewhere(tmp_path, backends):
    prometheus, victoria_logs, jaeger = backends
    with gateway_before(tmp_path, backends) as gateway:
        first = send(gateway, 31)
        assert first.join().retries == 0  # all is acknowledged, so no sender repeats anything
        gateway.kill()
        gateway.start()
        second = send(gateway, 32)
        tally = second.join()
        assert tally.retries == 0
        sent = Sent([first, second], decision_wait_of(gateway))
        calls = counted(prometheus, sent.calls)
        gateway.drained()

        found = pointers(prometheus, time.time() + 60)
        kept = spans_in(jaeger, sent.spans)
        assert_exemplars_lead_to_traces(found, kept, sent)
        ours = [each for each in found if each.metric.startswith("butterfly_")]
        of_spans = [each for each in found if each.metric.startswith("traces_span_metrics_duration_seconds")]
        assert len(ours) > 20 < len(of_spans)
        assert 0 < len(kept) < len(sent.spans) / 3

        lines = assert_traces_lead_to_lines(kept, lines_of(victoria_logs, kept), sent)
        stored = victoria_logs.entries()
        dropped = assert_only_what_follows_its_trace(stored, kept, sent)
        assert min(lines, dropped) > 100

        failed = {each["trace_id"] for each in victoria_logs.entries('{level="error"}')}
        assert failed == {trace_of(each) for each in sent.records if each.severity >= ERROR}
        assert_whole(kept, sent, failed - sent.unheard, "an error line")
        assert len(failed - sent.unheard) > 3

        lacked = {uid(each) for each in sent.records if trace_of(each) in kept and not names_request(each)}
        told = [each for each in stored if uid_in(each) in lacked]
        assert len(lacked) > 10
        without, unlinked = without_request_id(told), [each for each in found if not each.request_id]
        assert all(each.request_id in ("", request_of(each.trace)) for each in found)

        print(
            f"\n{len(found)} exemplars ({len(of_spans)} of span_metrics) to {len({each.trace for each in found})} of "
            f"{len(kept)} kept traces of {len(sent.spans)}, {lines} lines of them, {dropped} lines dropped, "
            f"{len(failed)} error lines' traces; {len(lacked)} lines lacked a request id, {len(without)} still do, "
            f"{len(unlinked)} exemplars do"
        )
        assert not without
        assert not unlinked
        assert calls == dict(sent.calls)
        assert gateway.metric("butterfly_dead_lettered_items_total") == 0
        assert gateway.metric("butterfly_leaked_acks_total") == 0
        gateway.terminate()


def harmless(traces):
    """Requests of spans and of logs: traces that nothing but their one error line speaks for."""
    spans, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    group, lines = spans.resource_spans.add(), logs.resource_logs.add()
    for each in (group, lines):
        each.resource.attributes.add(key="service.name").value.string_value = "harmless"
    scope, records = group.scope_spans.add(), lines.scope_logs.add()
    now = time.time_ns()
    for trace in traces:
        for number in range(1, 4):
            span = scope.spans.add(trace_id=bytes.fromhex(trace), span_id=number.to_bytes(8), name="step", kind=1)
            span.start_time_unix_nano, span.end_time_unix_nano = now, now + number
            span.attributes.add(key="butterfly.request.id").value.string_value = request_of(trace)
        record = records.log_records.add(time_unix_nano=now, severity_number=ERROR, severity_text="ERROR")
        record.trace_id, record.span_id = bytes.fromhex(trace), (2).to_bytes(8)
        record.body.string_value = "it went wrong, and no span says so"
    return spans.SerializeToString(), logs.SerializeToString()


def test_an_error_line_keeps_a_trace_that_nothing_else_would(tmp_path, backends):
    _, victoria_logs, jaeger = backends
    rng = random.Random(3)
    pinned, others = ([f"{rng.getrandbits(128):032x}" for _ in range(40)] for _ in range(2))
    with gateway_before(tmp_path, backends) as gateway:
        spans, logs = harmless(pinned)
        post(gateway, "traces", spans)
        post(gateway, "traces", harmless(others)[0])
        post(gateway, "logs", logs)
        gateway.drained()
        kept = spans_in(jaeger, pinned + others)
        assert set(pinned) <= set(kept)
        assert all(len(each) == 3 for each in kept.values())
        assert len(set(others) & set(kept)) < 20
        lines = lines_of(victoria_logs, pinned)
        assert {each["trace_id"]: each["request_id"] for each in lines} == {each: request_of(each) for each in pinned}
        gateway.terminate()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_walk_at_ten_thousand_spans_a_second_while_everything_restarts(tmp_path, backends):
    """Jaeger is frozen instead, since it remembers nothing over a restart."""
    prometheus, victoria_logs, jaeger = backends
    rng = random.Random(9)
    with gateway_before(tmp_path, backends, "10s") as gateway:
        load = {"rate": 10_000, "points": 10_000, "duration": 3600.0, "retry_for": 120.0, "drain": 60.0}
        sending = Sending(gateway.grpc, seed=33, batch=100, logs=LogShape(), metrics=MetricShape(), **load)
        sizes = []
        for number in range(6):
            time.sleep(rng.uniform(5, 9))
            server = (prometheus, victoria_logs, jaeger)[number % 3]
            server.pause() if server is jaeger else server.stop()
            time.sleep(rng.uniform(1, 3))
            sizes.append(gateway.rss())
            gateway.kill()
            gateway.start()
            server.resume() if server is jaeger else server.start()
        time.sleep(8)
        sizes.append(gateway.rss())
        sending.runner.stop()
        tally = sending.join()
        gateway.drained(180)
        sent = Sent([sending], decision_wait_of(gateway))
        calls = counted(prometheus, sent.calls, within=60)
        found = pointers(prometheus, time.time() + 60)
        errors = victoria_logs.entries('{level="error"}')
        failed = {each["trace_id"] for each in errors}
        traces = {each.trace for each in found} | failed
        kept = spans_in(jaeger, traces)
        assert_exemplars_lead_to_traces(found, kept, sent)
        assert {trace_of(each) for each in sent.records if each.severity >= ERROR} <= failed
        assert_whole(kept, sent, failed & sent.spans.keys() - sent.unheard, "an error line")
        entries = lines_of(victoria_logs, kept)
        lines = assert_traces_lead_to_lines(kept, entries, sent)
        without, unlinked = without_request_id(entries), [each for each in found if not each.request_id]
        acked, most = sum(sent.calls.values()), sum(sent.calls.values()) + tally.retries * 100
        print(
            f"\n{tally.signals['traces'].acked:,} spans, {tally.retries} retries; {len(found):,} exemplars to "
            f"{len({each.trace for each in found}):,} traces, {len(failed):,} error traces, {lines:,} lines of "
            f"these traces; {len(without)} lines and {len(unlinked)} exemplars have no request id; "
            f"{sum(calls.values()):,} calls of {acked:,} to {most:,}; {[each >> 20 for each in sizes]} MiB"
        )
        assert len(found) > 2000
        assert all(calls[place] >= count for place, count in sent.calls.items())
        assert sum(calls.values()) <= most
        assert len(without) < lines / 50
        assert len(unlinked) < len(found) / 50
        assert gateway.metric("butterfly_leaked_acks_total") == 0
