"""`kill -9` at random moments while deltas or sums flow to a real Prometheus: every counter stays right, at every
moment, and what comes again is not refused."""

import random
import threading
import time
import urllib.error
import urllib.request

import pytest
from gateway_process import Gateway, free_port
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

SERIES = 10
STEP = 10**8


def config(folder, write_url, namespace):
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{free_port()}"}}}},
        "connectors": {"disk": {}},
        "exporters": {
            "prometheus_remote_write": {
                "endpoint": write_url,
                "namespace": namespace,
                "sending_queue": {"batch": {"flush_timeout": "50ms"}},
            }
        },
        "service": {
            "data_dir": str(folder / "data"),
            "telemetry": {"metrics": {"address": f"127.0.0.1:{free_port()}"}},
            "pipelines": {
                "metrics/in": {"receivers": ["otlp"], "exporters": ["disk"]},
                "metrics/out": {"receivers": ["disk"], "exporters": ["prometheus_remote_write"]},
            },
        },
    }


class Sender(threading.Thread):
    """Sends a delta, or with `cumulative` a sum, a series and step, again and again until it is acknowledged.
    `sums`: the truth by time in ms."""

    def __init__(self, url, seed, *, cumulative=False):
        super().__init__(daemon=True)
        self.url = url
        self.cumulative = cumulative
        self.chooser = random.Random(seed)
        self.ended = threading.Event()
        self.sums = [{} for _ in range(SERIES)]
        self.repeats = 0

    def run(self):
        end = first = time.time_ns() // 10**6 * 10**6
        totals = [0] * SERIES
        while not self.ended.is_set():
            begin, end = end, max(end + STEP, time.time_ns() // 10**6 * 10**6)
            request = ExportMetricsServiceRequest()
            metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="served")
            metric.sum.is_monotonic = True
            metric.sum.aggregation_temporality = 2 if self.cumulative else 1
            for series in range(SERIES):
                value = self.chooser.randint(0, 1000)
                totals[series] += value
                self.sums[series][end // 10**6] = totals[series]
                if self.cumulative:
                    begin, value = first, totals[series]
                point = metric.sum.data_points.add(start_time_unix_nano=begin, time_unix_nano=end, as_int=value)
                point.attributes.add(key="series").value.int_value = series
            self.deliver(request.SerializeToString())
            time.sleep(0.02)

    def deliver(self, payload):
        while True:
            post = urllib.request.Request(self.url, payload, {"content-type": "application/x-protobuf"})
            try:
                with urllib.request.urlopen(post, timeout=5) as reply:
                    assert reply.status == 200
                    return
            except (urllib.error.URLError, OSError):
                self.repeats += 1
                time.sleep(0.05)


def namespace_of(cumulative):
    """The servers are shared by the tests of a session."""
    return "killed_sums" if cumulative else "killed"


def kill_often(tmp_path, prometheus, kills, seed, *, cumulative=False):
    chooser = random.Random(seed)
    with Gateway(config(tmp_path, prometheus.write_url, namespace_of(cumulative)), tmp_path) as gateway:
        sender = Sender(f"http://{gateway.http}/v1/metrics", seed, cumulative=cumulative)
        sender.start()
        for _ in range(kills):
            time.sleep(chooser.uniform(0.1, 1.5))
            gateway.kill()
            gateway.start(wait=False)
            gateway.wait_ready()
        time.sleep(0.5)
        sender.ended.set()
        sender.join(60)
        assert not sender.is_alive(), "the last of it was never taken"
        gateway.drained()
        copies = gateway.metric("butterfly_remote_write_duplicate_deltas_total")
        refused = gateway.metric("butterfly_remote_write_requests_total", outcome="refused")
        again = gateway.metric("butterfly_remote_write_repeated_samples_total")
        gateway.terminate()
    print(f"{kills} kills, {sender.repeats} repeats by the sender, {copies} known deltas in the last life")
    print(f"{again:.0f} samples left out and {refused:.0f} requests refused in the last life")
    assert refused == 0
    return sender


def check(tmp_path, prometheus, sender):
    stored = prometheus.samples(f"{namespace_of(sender.cumulative)}_served_total", time.time() + 60)
    assert len(stored) == SERIES
    for labels, samples in stored.items():
        truth = sender.sums[int(dict(labels)["series"])]
        assert {at: value for at, value in samples if truth[at] != value} == {}
        assert samples[-1] == (max(truth), truth[max(truth)]), "the newest sum has arrived"
    if sender.cumulative:
        assert {at for samples in stored.values() for at, _ in samples} == set(sender.sums[0]), "none is missing"
    assert not list((tmp_path / "data").rglob("dead-letter*.jsonl")), "nothing was refused"


def test_a_few_kills(tmp_path, prometheus):
    check(tmp_path, prometheus, kill_often(tmp_path, prometheus, 3, seed=7))


@pytest.mark.parametrize("server", ["prometheus", "prometheus_v1"])
def test_what_comes_again_is_not_refused(tmp_path, request, server):
    prometheus = request.getfixturevalue(server)
    check(tmp_path, prometheus, kill_often(tmp_path, prometheus, 3, seed=11, cumulative=True))


@pytest.mark.soak
def test_sixty_kills_of_sums(tmp_path, prometheus):
    check(tmp_path, prometheus, kill_often(tmp_path, prometheus, 60, seed=int(time.time()), cumulative=True))


@pytest.mark.soak
def test_sixty_kills(tmp_path, prometheus_v1):
    check(tmp_path, prometheus_v1, kill_often(tmp_path, prometheus_v1, 60, seed=int(time.time())))
