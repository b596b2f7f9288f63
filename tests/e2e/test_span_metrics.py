"""RED metrics of all spans, beside a sampler that drops nine tenths: exact after `kill -9`, and never going back."""

import random
import time
from collections import Counter

import pytest
from gateway_process import Gateway, quickstart
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from traffic import Sending

from bench.red_truth import red

BOUNDS_S = (0.01, 0.1, 1.0)
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def config_in(folder):
    config = quickstart(folder, decision_wait="1s")
    buckets = {"buckets": [f"{bound}s" for bound in BOUNDS_S]}
    config["connectors"]["span_metrics"] = {
        "metrics_flush_interval": "1s",
        "histogram": {"unit": "s", "explicit": buckets},
        "exemplars": {"enabled": True},
    }
    config["exporters"]["file/red"] = {"path": str(folder / "red.jsonl")}
    config["service"]["pipelines"] |= {
        "traces/count": {"receivers": ["disk"], "exporters": ["span_metrics"]},
        "metrics/red": {"receivers": ["span_metrics"], "exporters": ["file/red"]},
    }
    return config


def reports(path):
    """What the file has; a line that is still being written isn't one."""
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            return
        yield json_format.Parse(line.encode(), ExportMetricsServiceRequest())


def series(report):
    """(metric name, service, span name, kind, status) -> point."""
    for resource in report.resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            for point in (metric.sum if metric.HasField("sum") else metric.histogram).data_points:
                about = {a.key: a.value.string_value for a in point.attributes}
                names = ("service.name", "span.name", "span.kind", "status.code")
                yield (metric.name.rpartition(".")[2], *(about[name] for name in names)), point


def truth_of(sent):
    calls, nanoseconds, buckets = Counter(), Counter(), {}
    for sending in sent:
        for key, each in red(sending.ledger, sending.traffic, bounds=BOUNDS_S).items():
            status = {0: "UNSET", 2: "ERROR"}[key.status]
            place = (key.service, key.name, f"SPAN_KIND_{KINDS[key.kind]}", f"STATUS_CODE_{status}")
            calls[place] += each.count
            nanoseconds[place] += each.nanoseconds
            buckets[place] = [a + b for a, b in zip(buckets.get(place, [0] * 4), each.buckets, strict=True)]
    return calls, nanoseconds, buckets


def last_counts(path):
    found = {}
    for report in reports(path):
        found = {key: point.as_int for key, point in series(report) if key[0] == "calls"}
    return found


def count_over_kills(folder, kills, spans, seed):
    rng = random.Random(seed)
    sent = []
    red_file = folder / "red.jsonl"
    with Gateway(config_in(folder), folder) as gateway:
        for number in range(kills):
            # All of it is acknowledged before the kill, so no sender repeats anything, and the counting is anywhere.
            sending = Sending(gateway.grpc, seed=seed + number, rate=0, spans=spans, duration=60, cycle=4000)
            tally = sending.join()
            assert tally.retries == 0
            sent.append(sending)
            time.sleep(rng.uniform(0, 2.5) if number % 2 else 0)
            gateway.kill()
            gateway.start()
        calls, nanoseconds, buckets = truth_of(sent)
        deadline = time.monotonic() + 30
        while sum(last_counts(red_file).values()) < sum(calls.values()) and time.monotonic() < deadline:
            time.sleep(0.2)
        gateway.drained()
        gateway.terminate()
        kept = sum(file.read_text().count('"startTimeUnixNano"') for file in gateway.kept_files())
    assert 0 < kept < sum(calls.values()) / 3, "a sampler stands beside"
    highest = Counter()
    for report in reports(red_file):
        for key, point in series(report):
            count = point.as_int if key[0] == "calls" else point.count
            assert count >= highest[key], "a count went back"
            highest[key] = count
    last = dict(series(report))
    assert {key[1:] for key in last} == set(calls)
    for place, count in calls.items():
        assert last["calls", *place].as_int == count
        point = last["duration", *place]
        assert list(point.bucket_counts) == buckets[place]
        assert point.sum == pytest.approx(nanoseconds[place] / 1e9, rel=1e-9)
    return sum(calls.values())


def test_counts_are_exact_over_a_few_kills(tmp_path):
    assert count_over_kills(tmp_path, kills=4, spans=4000, seed=5) > 15_000


@pytest.mark.soak
def test_counts_are_exact_over_many_kills(tmp_path):
    assert count_over_kills(tmp_path, kills=60, spans=20_000, seed=int(time.time()) % 10**6) > 1_000_000
