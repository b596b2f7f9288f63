"""`kill -9` of a gateway that limits cardinality behind the durable buffer: its sums are what the senders counted."""

import random
import time
import urllib.error
import urllib.request

from gateway_process import Gateway, free_port
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import from_json
from tests.property.cardinality_traffic import Reader, counters, report

REQUESTS = 240
KILLS = 3


def configuration(folder):
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{free_port()}"}}}},
        "connectors": {"disk": {"directory": str(folder / "log")}},
        "processors": {"cardinality_limiter": {"max_series_per_metric": 5}},
        "exporters": {"file": {"path": str(folder / "sent.jsonl")}},
        "service": {
            "data_dir": str(folder / "data"),
            "telemetry": {"metrics": {"address": f"127.0.0.1:{free_port()}"}},
            "pipelines": {
                "metrics/in": {"receivers": ["otlp"], "exporters": ["disk"]},
                "metrics/out": {"receivers": ["disk"], "processors": ["cardinality_limiter"], "exporters": ["file"]},
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


def test_sums_are_exact_over_kills(tmp_path):
    draw, truth = random.Random(5), Reader()
    sources = counters(draw, users="abcdefghij")
    kills = sorted(draw.sample(range(20, REQUESTS - 20), KILLS))
    with Gateway(configuration(tmp_path), tmp_path) as gateway:
        for now in range(1, REQUESTS):
            request = report(draw, sources, now)
            truth.read(request)
            send(gateway.http, request.SerializeToString())
            if now in kills:
                gateway.kill()
                gateway.start(wait=False)
        gateway.drained()
        assert gateway.metric("butterfly_cardinality_series") == 5
        assert gateway.metric("butterfly_cardinality_folded_series") > 10
        status, text = gateway.get("/report/cardinality_limiter")
        assert status == 200
        assert '"metric": "work"' in text
        assert gateway.metric("butterfly_leaked_acks_total") == 0
        gateway.terminate()
    assert "begins anew" not in (tmp_path / "gateway.log").read_text()
    sent = Reader()
    for line in (tmp_path / "sent.jsonl").read_bytes().splitlines():
        sent.read(ExportMetricsServiceRequest.FromString(from_json(line, "metrics")))
    assert sent.total() == truth.total()
