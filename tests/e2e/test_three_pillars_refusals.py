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
from pillars import EVERYTHING, Traffics, assert_entries, assert_samples, compare, post, scrubbed, three_pillars

from collector.export_queue.dead_letter import read
from tests.conftest import needed
from tests.servers.fault_proxy import Answer, FaultProxy
from tests.servers.prometheus_server import Prometheus
from tests.servers.victoria_logs_server import VictoriaLogs


def impatient(config):
    """Nobody waits long for traces that are never sent."""
    config["processors"]["exemplar_linker"] = {"max_wait": "1s"}


@pytest.fixture
def behind(tmp_path):
    """Prometheus as it is without settings, VictoriaLogs, a proxy before each, and the gateway."""
    prometheus = needed(lambda: Prometheus(tmp_path / "prometheus"))
    victoria_logs = needed(lambda: VictoriaLogs(tmp_path / "victoria-logs"))
    with (
        prometheus,
        victoria_logs,
        FaultProxy(prometheus.port) as metrics,
        FaultProxy(victoria_logs.port) as logs,
        three_pillars(
            tmp_path, prometheus=metrics.port, victoria_logs=logs.port, jaeger=1, change=impatient
        ) as gateway,
    ):
        yield gateway, prometheus, victoria_logs, metrics, logs
        assert gateway.metric("butterfly_leaked_acks_total") == 0


def letters(gateway):
    """(signal, reason before its colon) to the items with it, and their payloads."""
    found = {}
    for each in read(gateway.folder / "data" / "dead-letter"):
        key = each.signal.value, each.reason.partition(":")[0]
        count, payloads = found.get(key, (0, []))
        found[key] = count + each.items, [*payloads, each.payload]
    return found


def gauges(values, at):
    """A request with a gauge for each name and value, at that time in ms; a list gives a name several points."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "refusals"
    scope = group.scope_metrics.add()
    for name, value in values.items():
        metric = scope.metrics.add(name=name)
        for number, each in enumerate(value if isinstance(value, list) else [value]):
            metric.gauge.data_points.add(time_unix_nano=(at + number) * 10**6, as_double=each)
    return request.SerializeToString()


def logs_of(*records):
    """A request with these (time in ns, body)."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = "refusals"
    scope = group.scope_logs.add()
    for at, body in records:
        scope.log_records.add(time_unix_nano=at, severity_number=9).body.string_value = body
    return request.SerializeToString()


def test_outages_and_throttling_lose_nothing(behind):
    gateway, prometheus, victoria_logs, metrics, logs = behind
    traffic = Traffics(gateway, seed=21, duration=3.0, signals=("metrics", "logs"))
    with metrics.refusing(503), logs.refusing(503):
        time.sleep(0.8)
    with metrics.refusing(500), logs.refusing(429, retry_after="1"):
        time.sleep(0.8)
    traffic.join()
    gateway.drained()
    assert assert_samples(prometheus, scrubbed(gateway, "metrics", traffic.sent("metrics")), time.time() + 60) > 5000
    assert assert_entries(victoria_logs, scrubbed(gateway, "logs", traffic.sent("logs"))) > 300
    assert {503, 500, 204} <= set(metrics.statuses) or {503, 500, 200} <= set(metrics.statuses)
    assert {503, 429, 204} <= set(logs.statuses)
    assert not letters(gateway)


def poisoned(_path, body):
    return Answer(400, b"no") if b"poison" in bytes(cramjam.snappy.decompress_raw(body)) else None


def test_one_poison_item_in_a_thousand(behind):
    gateway, prometheus, victoria_logs, metrics, logs = behind
    metrics.fault = logs.fault = poisoned
    now = time.time_ns()
    good = {f"good_{number}": float(number) for number in range(999)}
    post(gateway, "metrics", gauges(good | {"poison": 1.0}, now // 10**6))
    lines = [(now + number, f"good {number}") for number in range(999)]
    post(gateway, "logs", logs_of(*lines[:500], (now, "poison"), *lines[500:]))
    gateway.drained()
    compare(expected([gauges(good, now // 10**6)]).samples, stored_in(prometheus, EVERYTHING, now / 1e9 + 60).samples)
    assert stored_entries(victoria_logs) == expected_entries([logs_of(*lines)])
    found = letters(gateway)
    assert {key: count for key, (count, _) in found.items()} == {("metrics", "bad_request"): 1, ("logs", "refused"): 1}
    assert [name for name, _ in series_in(found["metrics", "bad_request"])] == ["poison"]
    assert bodies_in(found["logs", "refused"]) == ["poison"]
    # Without poison it takes one push to Loki, and to Prometheus one a lane.
    for proxy, without in ((metrics, 5), (logs, 1)):
        assert proxy.statuses[400] <= math.log2(1000) + 1
        assert proxy.statuses.total() <= without + 2 * math.log2(1000)


def series_in(letter):
    """Name and values of the gauges in a dead letter."""
    requests = map(ExportMetricsServiceRequest.FromString, letter[1])
    scopes = [scope for request in requests for group in request.resource_metrics for scope in group.scope_metrics]
    return [(m.name, [point.as_double for point in m.gauge.data_points]) for scope in scopes for m in scope.metrics]


def bodies_in(letter):
    requests = map(ExportLogsServiceRequest.FromString, letter[1])
    scopes = [scope for request in requests for group in request.resource_logs for scope in group.scope_logs]
    return [record.body.string_value for scope in scopes for record in scope.log_records]


def test_samples_that_prometheus_takes_from_nobody(behind):
    gateway, prometheus, *_ = behind
    now = time.time_ns() // 10**6 - 30_000
    good = {f"good_{number}": float(number) for number in range(50)}
    sent = gauges(good | {"contradicted": 1.0, "aged": 1.0}, now)
    post(gateway, "metrics", sent)
    gateway.drained()
    later = {name: value + 1 for name, value in good.items()}
    post(gateway, "metrics", gauges({"contradicted": 2.0}, now))
    post(gateway, "metrics", gauges({"aged": 3.0}, now - 5_000))
    post(gateway, "metrics", gauges({"ahead": 4.0}, now + 3_600_000))
    post(gateway, "metrics", gauges(later, now + 1000))
    gateway.drained()
    wanted = expected([sent, gauges(later, now + 1000)])
    compare(wanted.samples, stored_in(prometheus, EVERYTHING, now / 1000 + 7200).samples)
    found = letters(gateway)
    refused = {key[1]: series_in(each) for key, each in found.items()}
    assert refused == {
        "duplicate": [("contradicted", [2.0])],
        "out_of_order": [("aged", [3.0])],
        "future": [("ahead", [4.0])],
    }
    assert gateway.metric("butterfly_dead_lettered_items_total") == 3


def test_entries_that_loki_would_not_take(behind):
    gateway, _, victoria_logs, *_ = behind
    now = time.time_ns()
    day = 86_400 * 10**9
    fine = [(now, "fine"), (now - 6 * day, "old"), (now + 10**9, "ahead")]
    long = "x" * (300 << 10)
    post(gateway, "logs", logs_of(*fine, (now - 8 * day, "too old"), (now + day, "too far ahead"), (now + 1, long)))
    gateway.drained()
    stored = {each["_msg"]: each for each in victoria_logs.entries()}
    bodies = {json.loads(line)["message"]: line for line in stored}
    assert set(bodies) == {"fine", "old", "ahead", max(bodies, key=len)}
    cut = bodies[max(bodies, key=len)]
    assert 255 << 10 < len(cut) <= 256 << 10
    assert long.startswith(json.loads(cut)["message"])
    assert stored[cut]["line_truncated"] == "true"
    found = letters(gateway)
    assert {key[1]: bodies_in(each) for key, each in found.items()} == {
        "too_old": ["too old"],
        "too_far_ahead": ["too far ahead"],
    }


@pytest.fixture
def plain(tmp_path):
    """A gateway that takes entries of any age, a Prometheus and a VictoriaLogs."""

    def change(config):
        impatient(config)
        config["exporters"]["loki"]["limits"] = {"reject_old_samples_max_age": "0s", "creation_grace_period": "0s"}

    prometheus = needed(lambda: Prometheus(tmp_path / "prometheus"))
    victoria_logs = needed(lambda: VictoriaLogs(tmp_path / "victoria-logs"))
    ports = {"prometheus": prometheus.port, "victoria_logs": victoria_logs.port, "jaeger": 1}
    with prometheus, victoria_logs, three_pillars(tmp_path, **ports, change=change) as gateway:
        yield gateway, prometheus, victoria_logs


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


def test_the_examples_of_the_specification_arrive(plain):
    gateway, prometheus, victoria_logs = plain
    sent = {}
    for signal, kind in REQUESTS.items():
        example = json.loads((ROOT / "tests" / "data" / f"opentelemetry_proto_{signal}.json").read_text())
        sent[signal] = from_otlp_json(example, kind()).SerializeToString()
        post(gateway, signal, sent[signal])
    gateway.drained()
    wanted = expected(scrubbed(gateway, "metrics", [sent["metrics"]]))
    found = stored_in(prometheus, EVERYTHING, 1_544_712_700)
    assert len(wanted.samples) > 5
    compare(wanted.samples, found.samples)
    compare(wanted.histograms, found.histograms)
    assert assert_entries(victoria_logs, scrubbed(gateway, "logs", [sent["logs"]])) == 1
    assert not letters(gateway)


def test_what_the_python_sdk_makes_arrives(plain):
    gateway, prometheus, victoria_logs = plain
    metrics = [message.SerializeToString() for message in send_metrics(Nowhere())]
    logs = [message.SerializeToString() for message in send_logs(Nowhere())]
    for signal, payloads in (("metrics", metrics), ("logs", logs)):
        for payload in payloads:
            post(gateway, signal, payload)
    gateway.drained()
    assert assert_samples(prometheus, scrubbed(gateway, "metrics", metrics), time.time() + 60) > 50
    assert assert_entries(victoria_logs, scrubbed(gateway, "logs", logs)) == 200
    assert not letters(gateway)
