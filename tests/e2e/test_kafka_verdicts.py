"""Metrics and logs that follow the verdicts of samplers in other processes, against what the samplers kept."""

import random
import signal
import time

import pytest
from kafka_tiers import BY_THE_MOMENT, SAMPLE, Tiers
from traffic import Sending

from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.ledger import Outcome
from bench.log_truth import sent_records, uid
from bench.metric_truth import sent_exemplars
from bench.otlp_items import json_lines, json_points, json_records

INGEST = ("traces/ingest", "metrics/ingest", "logs/ingest")
EXPORT = ("metrics/export", "logs/export")
WARN = 13


def tiers_of(folder, kafka, *, decision_wait, max_wait, **policies):
    """One process that ingests, two that sample, one that exports metrics and logs."""
    tiers = Tiers(
        folder,
        kafka.bootstrap,
        signals=("traces", "metrics", "logs"),
        decision_wait=decision_wait,
        followers={"max_wait": max_wait},
        **policies,
    )
    tiers.member("ingest", *INGEST)
    for name in ("sampler-1", "sampler-2"):
        tiers.member(name, SAMPLE)
    tiers.member("export", *EXPORT)
    tiers.make_topics()
    return tiers


def traffic_to(tiers, **pace):
    return Sending(
        tiers.members["ingest"].grpc,
        rate=1500,
        points=3000,
        cycle=6000,
        late_by=1.0,
        logs=LogShape(records=1500),
        metrics=MetricShape(series=1000, batch=200),
        **pace,
    )


class Judgement:
    """What left, by what was kept. `exemplars` are those that left, by trace; `lost` are records that should have."""

    def __init__(self, tiers, sending):
        export = tiers.members["export"].folder
        spans = json_lines(tiers.kept_files())
        groups = (scope for each in spans for group in each["resourceSpans"] for scope in group["scopeSpans"])
        self.kept = {span["traceId"] for scope in groups for span in scope["spans"]}
        points = (point for each in json_lines([export / "metrics.jsonl"]) for point in json_points(each))
        self.exemplars = {exemplar.trace_id for point in points for exemplar in point.exemplars}
        sent = sent_exemplars(sending.ledger, sending.traffic).values()
        self.sent = {exemplar.trace_id for each in sent for exemplar in each}
        self.records = {uid(each): each for line in json_lines([export / "logs.jsonl"]) for each in json_records(line)}
        self.sent_records = [
            item for outcome, item in sent_records(sending.ledger, sending.traffic) if outcome is Outcome.ACKED
        ]

    def wrong_records(self):
        """Records that left, or didn't, against the verdict of their trace or their own severity."""
        return [
            item
            for item in self.sent_records
            if (uid(item) in self.records)
            != (item.severity >= WARN or not self.trace(item) or self.trace(item) in self.kept)
        ]

    def trace(self, item):
        return item.trace_id or str(item.attributes.get("traceparent", "--")).split("-")[1]

    def told(self):
        good, left = self.sent & self.kept, self.exemplars
        wrong = self.wrong_records()
        return (
            f"{len(self.kept)} traces kept; exemplars of {len(self.sent)} traces sent, {len(good)} of them kept, "
            f"{len(left)} left; {len(self.records)} of {len(self.sent_records)} records left, {len(wrong)} wrongly"
        )


def fates(tiers):
    export = tiers.members["export"]
    names = ("kept", "swapped", "trace_dropped", "trace_undecided")
    return {name: export.metric("butterfly_exemplars_total", fate=name) for name in names}


def test_exemplars_and_logs_follow_samplers_in_other_processes(tmp_path, kafka):
    """The exporting process is killed in the midst; part of the verdicts is long since written when it is back."""
    with tiers_of(tmp_path, kafka, decision_wait="1s", max_wait="20s") as tiers:
        tiers.start()
        sending = traffic_to(tiers, duration=3.0)
        time.sleep(1.5)
        tiers.members["export"].kill()
        time.sleep(0.5)
        tiers.start("export")
        sending.join()
        tiers.drained()
        print("\n", fates(tiers))
        assert fates(tiers)["trace_undecided"] == 0
        tiers.finish()
        found = Judgement(tiers, sending)
    print(found.told())
    assert found.exemplars <= found.kept
    assert len(found.exemplars) > 20
    assert found.exemplars >= found.sent & found.kept
    assert found.wrong_records() == []


@pytest.mark.soak
def test_kills_and_suspensions_of_every_tier_contradict_no_verdict(tmp_path, kafka):
    """A trace that is decided twice hardly gets the same verdict here."""
    rng = random.Random(3)
    waits = {"decision_wait": "3s", "max_wait": "60s"}
    with tiers_of(tmp_path, kafka, **waits, ordinary=BY_THE_MOMENT) as tiers:
        tiers.start()
        sending = traffic_to(tiers, duration=3600.0, retry_for=120.0)
        for number in range(12):
            time.sleep(rng.uniform(0.5, 3.0))
            name = ("export", "sampler-1", "sampler-2")[number % 3]
            member = tiers.members[name]
            if number % 4 == 1:  # for longer than its session: its partitions are taken over, and it wakes up
                member.process.send_signal(signal.SIGSTOP)
                time.sleep(6)
                member.process.send_signal(signal.SIGCONT)
            else:
                member.kill()
                tiers.start(name)
        sending.runner.stop()
        sending.join()
        tiers.drained(90)
        tiers.finish()
        found = Judgement(tiers, sending)
    print("\n" + found.told())
    assert found.exemplars <= found.kept
    assert len(found.exemplars & found.sent) > 0.95 * len(found.sent & found.kept)
    assert len(found.wrong_records()) < 0.01 * len(found.sent_records)
