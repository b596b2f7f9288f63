"""What backends refuse, for a while or for good: everything else arrives, and what can't is in the dead letter."""

import json
import math
import time

import cramjam
import pytest
from expected_entries import expected_entries, stored_entries
from expected_samples import expected, stored_in
from gateway_process import ROOT
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import MetricExportResult
from otlp_sdk import from_otlp_json, send_logs, send_metrics
from pillars import Traffics, assert_entries, assert_samples, compare, post, scrubbed, three_pillars

from collector.export_queue.dead_letter import read
from tests.conftest import needed
from tests.servers.fault_proxy import Answer, FaultProxy
from tests.servers.prometheus_server import Prometheus
from tests.servers.victoria_logs_server import VictoriaLogs


def impatient(config):
    """Nobody waits long for traces that are never sent."""
    config["processors"]["exemplar_linker"] = {"max_wait": "1s"}


@pytest.fixture(scope="module")
def behind(prometheus, victoria_logs, tmp_path_factory):
    """Prometheus as it is without settings, VictoriaLogs, a proxy before each, and the gateway. Every test has a
    service name of its own."""
    folder = tmp_path_factory.mktemp("behind")
    with (
        FaultProxy(prometheus.port) as metrics,
        FaultProxy(victoria_logs.port) as logs,
        three_pillars(folder, metrics.port, logs.port, jaeger=1, change=impatient) as gateway,
    ):
        yield gateway, prometheus, victoria_logs, metrics, logs
        assert gateway.metric("butterfly_leaked_acks_total") == 0


def letters(gateway, job):
    """(signal, reason before its colon) to the payloads in the dead letter that it stands for, of that service."""
    found = {}
    for each in read(gateway.folder / "data" / "dead-letter"):
        if job.encode() in each.payload:
            found.setdefault((each.signal.value, each.reason.partition(":")[0]), []).append(each.payload)
    return found


def gauges(job, values, at):
    """A request of that service with a gauge for each name and value, at that time in ms."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = job
    scope = group.scope_metrics.add()
    for name, value in values.items():
        metric = scope.metrics.add(name=name)
        metric.gauge.data_points.add(time_unix_nano=at * 10**6, as_double=value)
    return request.SerializeToString()


def logs_of(job, *records):
    """A request of that service with these (time in ns, body)."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = job
    scope = group.scope_logs.add()
    for at, body in records:
        scope.log_records.add(time_unix_nano=at, severity_number=9).body.string_value = body
    return request.SerializeToString()


def until_told(proxy, status, within=30.0):
    """Wait until the gateway has met that answer."""
    give_up = time.monotonic() + within
    while not proxy.statuses[status]:
        assert time.monotonic() < give_up, f"nobody was told {status}: {proxy.statuses}"
        time.sleep(0.02)


def outage(behind, seed, seconds, spans):
    """Answers in the backends' place for some seconds each; then everything has to be there."""
    gateway, prometheus, victoria_logs, metrics, logs = behind
    traffic = Traffics(gateway, seed=seed, spans=spans, signals=("metrics", "logs"))
    with metrics.refusing(503), logs.refusing(503):
        time.sleep(seconds)
        until_told(metrics, 503)
        until_told(logs, 503)
    with metrics.refusing(500), logs.refusing(429, retry_after="1"):
        time.sleep(min(seconds, 30))
        until_told(metrics, 500)
        until_told(logs, 429)
    traffic.join()
    gateway.drained(120)
    sent = {signal: scrubbed(gateway, signal, traffic.sent(signal)) for signal in ("metrics", "logs")}
    assert assert_samples(prometheus, sent["metrics"], time.time() + 60, '{job=~"butterfly/.*"}') > 5000
    assert assert_entries(victoria_logs, sent["logs"], '{service_namespace="butterfly"}') > 300
    assert not letters(gateway, "butterfly")
    return metrics.statuses.total(), logs.statuses.total()


def test_outages_and_throttling_lose_nothing(behind):
    outage(behind, 21, 0.8, 2000)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_minutes_of_503_lose_nothing(prometheus, victoria_logs, tmp_path):
    def patient(config):
        impatient(config)
        for exporter in config["exporters"].values():
            exporter["retry_on_failure"] = {"initial_interval": "1s", "max_interval": "30s", "max_elapsed_time": "0s"}

    with (
        FaultProxy(prometheus.port) as metrics,
        FaultProxy(victoria_logs.port) as logs,
        three_pillars(tmp_path, metrics.port, logs.port, jaeger=1, change=patient) as gateway,
    ):
        attempts = outage((gateway, prometheus, victoria_logs, metrics, logs), 22, 600.0, 24_000)
    assert max(attempts) < 1000


def poisoned(_path, body):
    return Answer(400, b"no") if b"poison" in bytes(cramjam.snappy.decompress_raw(body)) else None


def test_one_poison_item_in_a_thousand(behind):
    gateway, prometheus, victoria_logs, metrics, logs = behind
    now = time.time_ns()
    good = {f"good_{number}": float(number) for number in range(999)}
    lines = [(now + number, f"good {number}") for number in range(999)]
    metrics.fault = logs.fault = poisoned
    before = metrics.statuses.copy(), logs.statuses.copy()
    post(gateway, "metrics", gauges("thousand", good | {"poison": 1.0}, now // 10**6))
    post(gateway, "logs", logs_of("thousand", *lines[:500], (now, "poison"), *lines[500:]))
    gateway.drained()
    metrics.fault = logs.fault = None
    wanted = expected([gauges("thousand", good, now // 10**6)]).samples
    compare(wanted, stored_in(prometheus, '{job="thousand"}', now / 1e9 + 60).samples)
    found = stored_entries(victoria_logs, '{service_name="thousand"}')
    assert found == expected_entries([logs_of("thousand", *lines)])
    refused = letters(gateway, "thousand")
    assert set(refused) == {("metrics", "bad_request"), ("logs", "refused")}
    assert series_in(refused["metrics", "bad_request"]) == [("poison", [1.0])]
    assert bodies_in(refused["logs", "refused"]) == ["poison"]
    # Without poison it takes one push to Loki, and to Prometheus one a lane.
    for proxy, earlier, without in ((metrics, before[0], 5), (logs, before[1], 1)):
        statuses = proxy.statuses - earlier
        assert statuses[400] <= math.log2(1000) + 1
        assert statuses.total() <= without + 2 * math.log2(1000)


def series_in(payloads):
    """Name and values of the gauges in a dead letter."""
    requests = map(ExportMetricsServiceRequest.FromString, payloads)
    scopes = [scope for request in requests for group in request.resource_metrics for scope in group.scope_metrics]
    return [(m.name, [point.as_double for point in m.gauge.data_points]) for scope in scopes for m in scope.metrics]


def bodies_in(payloads):
    requests = map(ExportLogsServiceRequest.FromString, payloads)
    scopes = [scope for request in requests for group in request.resource_logs for scope in group.scope_logs]
    return [record.body.string_value for scope in scopes for record in scope.log_records]


def test_samples_that_prometheus_takes_from_nobody(behind):
    gateway, prometheus, *_ = behind
    now = time.time_ns() // 10**6 - 30_000
    good = {f"good_{number}": float(number) for number in range(50)}
    later = gauges("refused", {name: value + 1 for name, value in good.items()}, now + 1000)
    first = gauges("refused", good | {"contradicted": 1.0, "aged": 1.0}, now)
    post(gateway, "metrics", first)
    gateway.drained()
    post(gateway, "metrics", gauges("refused", {"contradicted": 2.0}, now))
    post(gateway, "metrics", gauges("refused", {"aged": 3.0}, now - 5_000))
    post(gateway, "metrics", gauges("refused", {"ahead": 4.0}, now + 3_600_000))
    post(gateway, "metrics", later)
    gateway.drained()
    stored = stored_in(prometheus, '{job="refused"}', now / 1000 + 7200)
    compare(expected([first, later]).samples, stored.samples)
    refused = {reason: series_in(each) for (_, reason), each in letters(gateway, "refused").items()}
    assert refused == {
        "duplicate": [("contradicted", [2.0])],
        "out_of_order": [("aged", [3.0])],
        "future": [("ahead", [4.0])],
    }


def test_entries_that_loki_would_not_take(behind):
    gateway, _, victoria_logs, *_ = behind
    now = time.time_ns()
    day = 86_400 * 10**9
    long = "x" * (300 << 10)
    fine = [(now, "fine"), (now - 6 * day, "old"), (now + 10**9, "ahead"), (now + 1, long)]
    post(gateway, "logs", logs_of("limits", *fine, (now - 8 * day, "too old"), (now + day, "too far ahead")))
    gateway.drained()
    stored = {json.loads(each["_msg"])["message"]: each for each in victoria_logs.entries('{service_name="limits"}')}
    cut = max(stored, key=len)
    assert set(stored) == {"fine", "old", "ahead", cut}
    assert 255 << 10 < len(stored[cut]["_msg"]) <= 256 << 10
    assert long.startswith(cut)
    assert stored[cut]["line_truncated"] == "true"
    refused = {reason: bodies_in(each) for (_, reason), each in letters(gateway, "limits").items()}
    assert refused == {"too_old": ["too old"], "too_far_ahead": ["too far ahead"]}


class Nowhere:
    """An exporter that sends nothing, and takes its time for it: points of one series must be a millisecond apart."""

    _preferred_temporality = _preferred_aggregation = None

    def export(self, *_arguments, **_options):
        time.sleep(0.002)
        return MetricExportResult.SUCCESS

    def force_flush(self, *_arguments, **_options):
        return True

    def shutdown(self, *_arguments, **_options):
        pass


REQUESTS = {"metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}


def test_the_examples_of_the_specification_and_what_the_python_sdk_makes_arrive(tmp_path):
    """Into an empty Prometheus, which takes samples of any age, by an exporter that lets through entries of any age."""

    def change(config):
        impatient(config)
        config["exporters"]["loki"]["limits"] = {"reject_old_samples_max_age": "0s"}

    sent = {
        "metrics": [message.SerializeToString() for message in send_metrics(Nowhere())],
        "logs": [message.SerializeToString() for message in send_logs(Nowhere())],
    }
    examples = {
        signal: from_otlp_json(
            json.loads((ROOT / "tests" / "data" / f"opentelemetry_proto_{signal}.json").read_text()), kind()
        ).SerializeToString()
        for signal, kind in REQUESTS.items()
    }
    prometheus = needed(lambda: Prometheus(tmp_path / "prometheus"))
    victoria_logs = needed(lambda: VictoriaLogs(tmp_path / "victoria-logs"))
    with (
        prometheus,
        victoria_logs,
        three_pillars(tmp_path, prometheus.port, victoria_logs.port, jaeger=1, change=change) as gateway,
    ):
        for signal, example in examples.items():
            post(gateway, signal, example)
        gateway.drained()  # Prometheus takes nothing that is much older than the newest that it has
        for signal, payloads in sent.items():
            for payload in payloads:
                post(gateway, signal, payload)
        gateway.drained()
        metrics, logs = (scrubbed(gateway, signal, [examples[signal], *sent[signal]]) for signal in REQUESTS)
        assert assert_samples(prometheus, metrics, time.time() + 60) > 60
        assert assert_entries(victoria_logs, logs) == 201
        assert not list(read(gateway.folder / "data" / "dead-letter"))
        assert gateway.metric("butterfly_leaked_acks_total") == 0
