"""Traces, metrics and logs of the same run through one gateway and one buffer, each against its ground truth."""

import random
import time

import pytest
from gateway_process import Gateway, quickstart
from traffic import Sending

from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape


def three(tmp_path, **tail_sampling):
    """The quickstart configuration, with metrics and logs through the same buffer and without a scrubber."""
    config = quickstart(tmp_path, **tail_sampling)
    config["exporters"]["file"].pop("rotation")
    del config["processors"]["pii_scrubber"]
    pipelines = config["service"]["pipelines"]
    pipelines["traces/ingest"]["processors"] = ["memory_limiter"]
    for signal in ("metrics", "logs"):
        config["exporters"][f"file/{signal}"] = {"path": str(tmp_path / f"{signal}.jsonl")}
        pipelines[f"{signal}/ingest"] = {"receivers": ["otlp"], "processors": ["memory_limiter"], "exporters": ["disk"]}
        pipelines[f"{signal}/deliver"] = {"receivers": ["disk"], "exporters": [f"file/{signal}"]}
    return config


def judge(sending, gateway, tmp_path, wait):
    reports = (
        sending.report(gateway.kept_files(), wait=wait),
        sending.metric_report((tmp_path / "metrics.jsonl",)),
        sending.log_report((tmp_path / "logs.jsonl",)),
    )
    print("\n" + "\n".join(line for report in reports for line in report.lines()))
    return reports


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_everything_arrives_as_it_was_sent(tmp_path, protocol):
    with Gateway(three(tmp_path, decision_wait="1s"), tmp_path) as gateway:
        sending = Sending(
            gateway.grpc if protocol == "grpc" else gateway.http,
            protocol=protocol,
            cycle=4_000,
            rate=4_000,
            spans=8_000,
            points=10_000,
            logs=LogShape(records=1_000),
            metrics=MetricShape(series=4_000, batch=500, temporality="mixed", explode=200),
        )
        tally = sending.join()
        assert tally.acked == tally.sent
        assert tally.signals.keys() == {"traces", "metrics", "logs"}
        gateway.drained()
        for signal, counts in tally.signals.items():
            assert gateway.metric("butterfly_accepted_items_total", pipeline=f"{signal}/ingest") == counts.acked
        gateway.terminate()
        reports = judge(sending, gateway, tmp_path, 1)
    assert all(report.holds for report in reports)


@pytest.mark.soak
def test_kills_lose_nothing_of_any_signal(tmp_path):
    rng = random.Random(5)
    with Gateway(three(tmp_path, decision_wait="8s"), tmp_path) as gateway:
        sending = Sending(
            gateway.grpc,
            rate=4_000,
            points=10_000,
            duration=3600.0,
            retry_for=120.0,
            logs=LogShape(records=5_000),
            metrics=MetricShape(series=6_000, batch=500),
        )
        for _ in range(10):
            time.sleep(rng.uniform(0.3, 2.5))
            gateway.kill()
            gateway.start()
        time.sleep(1)
        sending.runner.stop()
        tally = sending.join()
        assert min(counts.acked for counts in tally.signals.values()) > 1_000
        gateway.drained()
        gateway.terminate()
        reports = judge(sending, gateway, tmp_path, 8)
    assert all(report.holds for report in reports)
