"""Metrics, logs and traces through one gateway into a real Prometheus, VictoriaLogs and Jaeger: content, not counts."""

import random
import time

import pytest
from pillars import (
    Traffics,
    assert_entries,
    assert_exemplars,
    assert_samples,
    assert_traces,
    decision_wait_of,
    scrubbed,
    three_pillars,
    traces_in,
)

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


def started(folder, backends, decision_wait="500ms"):
    """`decision_wait`: longer than any outage of the gateway, for spans of a trace may come before and after it."""
    prometheus, victoria_logs, jaeger = backends
    ports = {"prometheus": prometheus.port, "victoria_logs": victoria_logs.port, "jaeger": jaeger.otlp}
    return three_pillars(folder, **ports, decision_wait=decision_wait)


def judge(gateway, backends, traffic, *, spans=None, copies=False):
    """All that was sent is where it belongs. `spans`: what Jaeger had before it lost its memory."""
    prometheus, victoria_logs, jaeger = backends
    until = time.time() + 60
    sent = {signal: scrubbed(gateway, signal, traffic.sent(signal)) for signal in traffic.tally.signals}
    late = traffic.late(decision_wait_of(gateway))
    kept, traces = assert_traces(jaeger, sent["traces"], late, before=spans)
    samples = assert_samples(prometheus, sent["metrics"], until)
    exemplars = assert_exemplars(prometheus, sent["metrics"], kept, until)
    entries = assert_entries(victoria_logs, sent["logs"], copies=copies)
    print(f"\n{samples} samples, {exemplars} exemplars, {entries} entries, {len(kept)} of {traces} traces kept")
    print(f"{len(late)} spans came later than the wait")
    assert samples > 5000
    assert exemplars > 10
    assert entries == traffic.tally.signals["logs"].sent > 300
    assert 0 < len(kept) < traces / 2
    assert gateway.metric("butterfly_leaked_acks_total") == 0


def test_everything_arrives_equal(tmp_path, backends):
    with started(tmp_path, backends) as gateway:
        traffic = Traffics(gateway, seed=11, temporality="mixed")
        tally = traffic.join()
        gateway.drained()
        assert all(counts.acked == counts.sent for counts in tally.signals.values())
        judge(gateway, backends, traffic)
        assert gateway.metric("butterfly_dead_lettered_items_total") == 0
        gateway.terminate()


def test_every_backend_restarts_and_the_gateway_is_killed_meanwhile(tmp_path, backends):
    prometheus, victoria_logs, jaeger = backends
    with started(tmp_path, backends, "4s") as gateway:
        traffic = Traffics(gateway, seed=12, temporality="mixed", spans=3200)
        time.sleep(0.7)
        for server in (prometheus, victoria_logs):
            server.stop()
        time.sleep(0.4)
        gateway.kill()
        gateway.start()
        for server in (victoria_logs, prometheus):
            server.start()
        time.sleep(0.4)
        gateway.kill()
        spans = traces_in(jaeger, traffic.sent("traces"))  # its memory ends with it
        jaeger.stop()
        gateway.start()
        time.sleep(0.4)
        jaeger.start()
        tally = traffic.join()
        gateway.drained()
        assert all(counts.acked == counts.sent for counts in tally.signals.values())
        judge(gateway, backends, traffic, spans=spans, copies=True)
        gateway.terminate()


@pytest.mark.soak
def test_kills_lose_nothing(tmp_path, backends):
    rng = random.Random(7)
    with started(tmp_path, backends, "20s") as gateway:
        patient = {"spans": None, "duration": 3600.0, "retry_for": 3600.0, "drain": 120.0}
        traffic = Traffics(gateway, seed=13, temporality="mixed", **patient)
        for _ in range(25):
            time.sleep(rng.uniform(0.2, 2.0))
            gateway.kill()
            gateway.start()
        traffic.runner.stop()
        tally = traffic.join(150)
        assert all(counts.acked == counts.sent for counts in tally.signals.values())
        gateway.drained()
        judge(gateway, backends, traffic, copies=True)
        gateway.terminate()


@pytest.mark.soak
def test_everything_arrives_equal_by_remote_write_1_0(tmp_path, jaeger, prometheus_v1, victoria_logs):
    backends = prometheus_v1, victoria_logs, jaeger
    with started(tmp_path, backends) as gateway:
        traffic = Traffics(gateway, seed=14, temporality="mixed")
        traffic.join()
        gateway.drained()
        judge(gateway, backends, traffic)
        assert gateway.metric("butterfly_dead_lettered_items_total") == 0
        gateway.terminate()
