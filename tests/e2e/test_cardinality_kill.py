"""`kill -9` of a gateway that limits cardinality behind the durable buffer: its sums are what the senders counted."""

import os
import random
import secrets
import subprocess
import time
import urllib.request

import pytest
from gateway_process import BUTTERFLY, ROOT, Gateway, free_port
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import from_json
from tests.property.cardinality_traffic import Reader, counters, report

REQUESTS = 240
KILLS = 3


def configuration(folder, connector):
    (name,) = connector
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{free_port()}"}}}},
        "connectors": connector,
        "processors": {"cardinality_limiter": {"max_series_per_metric": 5}},
        "exporters": {"file": {"path": str(folder / "sent.jsonl")}},
        "service": {
            "data_dir": str(folder / "data"),
            "telemetry": {"metrics": {"address": f"127.0.0.1:{free_port()}"}},
            "pipelines": {
                "metrics/in": {"receivers": ["otlp"], "exporters": [name]},
                "metrics/out": {"receivers": [name], "processors": ["cardinality_limiter"], "exporters": ["file"]},
            },
        },
    }


def send(endpoint, payload):
    """Until it is acknowledged."""
    request = urllib.request.Request(
        f"http://{endpoint}/v1/metrics", payload, {"Content-Type": "application/x-protobuf"}
    )
    for _ in range(400):
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("never acknowledged")


def exact_over_kills(gateway, folder, *, series):
    """Send, kill, and compare what the file holds with what was sent."""
    draw, truth = random.Random(5), Reader()
    sources = counters(draw, users="abcdefghij")
    when = draw.sample(range(20, REQUESTS - 20), KILLS)
    with gateway:
        for now in range(1, REQUESTS):
            request = report(draw, sources, now)
            truth.read(request)
            send(gateway.http, request.SerializeToString())
            if now in when:
                gateway.kill()
                gateway.start(wait=False)
        gateway.drained()
        assert gateway.metric("butterfly_cardinality_series") == series
        assert gateway.metric("butterfly_cardinality_folded_series") > 10
        status, text = gateway.get("/report/cardinality_limiter")
        assert status == 200
        assert '"metric": "work"' in text
        assert gateway.metric("butterfly_leaked_acks_total") == 0
        gateway.terminate()
    assert "begins anew" not in (folder / "gateway.log").read_text()
    sent = Reader()
    for line in (folder / "sent.jsonl").read_bytes().splitlines():
        sent.read(ExportMetricsServiceRequest.FromString(from_json(line, "metrics")))
    assert sent.total() == truth.total()


def test_sums_are_exact_over_kills(tmp_path):
    gateway = Gateway(configuration(tmp_path, {"disk": {"directory": str(tmp_path / "log")}}), tmp_path)
    exact_over_kills(gateway, tmp_path, series=5)


@pytest.mark.soak
def test_sums_are_exact_over_kills_with_kafka(tmp_path, kafka):
    """Each partition has a limiter of its own: the two nodes' series are in one or in two."""
    mark = f"cardinality-{secrets.token_hex(4)}"
    options = {
        "brokers": kafka.bootstrap,
        "group_id": mark,
        "group_instance_id": mark,
        "session_timeout": "6s",
        "partitions": 2,
        "metrics": {"topic": f"{mark}-metrics"},
        "decisions_topic": f"{mark}-decisions",
        "quarantine_topic": f"{mark}-quarantine",
    }
    gateway = Gateway(configuration(tmp_path, {"kafka": options}), tmp_path)
    made = subprocess.run(
        [*BUTTERFLY, "kafka", "init", "-c", str(gateway.file)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    exact_over_kills(gateway, tmp_path, series=pytest.approx(7.5, abs=2.5))
