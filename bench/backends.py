"""What a Prometheus and a VictoriaLogs hold after a run of the generator, against what its ledger says was sent.

Every stored sample is counted, and the newest of each series is summed over the series; every log record is looked for
by its own id. That each of them has the right content is for tests/e2e to show, on less.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.generator.identity import looks_personal, record_ids
from bench.ledger import Outcome
from bench.metric_truth import final_values
from bench.otlp_items import Distribution

if TYPE_CHECKING:
    from bench.generator.traffic import Traffic
    from bench.ledger import SenderLedger
    from tests.servers.prometheus_server import Prometheus
    from tests.servers.victoria_logs_server import VictoriaLogs

_OURS = '{__name__=~"butterfly_.+"}'
_UID = re.compile(rb'log[._]record[._]uid\\*":\\*"([0-9a-f]{16})')
_CLOSE = 1e-9


@dataclass(slots=True)
class Check:
    """Numbers that have to agree. `wrong`: which don't; empty when all do."""

    wanted: dict[str, float] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    """What was missing, even if it was found later."""

    @property
    def wrong(self) -> str:
        differing = [
            f"{name}: {self.found.get(name, 0):,.12g} of {wanted:,.12g}"
            for name, wanted in self.wanted.items()
            if not math.isclose(self.found.get(name, 0.0), wanted, rel_tol=_CLOSE, abs_tol=_CLOSE)
        ]
        return ", ".join([*differing, *self.examples] if differing else [])


def check_samples(prometheus: Prometheus, ledger: SenderLedger, traffic: Traffic, within: float = 60.0) -> Check:
    """Of the metrics; waits until there are as many samples as there should be."""
    check = Check()
    rounds: dict[int, int] = {}
    for (_, request), (outcome, _, _) in ledger.reports.items():
        rounds[request] = rounds.get(request, 0) + (outcome is Outcome.ACKED)
    final = final_values(ledger, traffic)
    per_request = _samples_by_request(ledger, traffic)
    check.wanted["samples"] = float(sum(rounds[request] * each for request, each in per_request.items()))
    sums = dict.fromkeys(("counters", "counts", "sums", "buckets", "gauges"), 0.0)
    for expected in final.values():
        value = expected.value
        if isinstance(value, Distribution):
            if expected.point.key.kind == "exponential_histogram":
                continue
            sums["counts"] += value.count
            sums["sums"] += value.sum
            sums["buckets"] += float(np.cumsum(value.buckets).sum()) if value.bounds else 0.0
        else:
            sums["counters" if expected.point.monotonic else "gauges"] += value
    check.wanted |= sums
    give_up = time.monotonic() + within
    while True:
        now = time.time() + 60
        names = [each["metric"]["__name__"] for each in prometheus.query(f"count by (__name__) ({_OURS})", now)]
        check.found["samples"] = sum(_number(prometheus, f"sum(count_over_time({name}[1h]))", now) for name in names)
        if check.found["samples"] >= check.wanted["samples"] or time.monotonic() > give_up:
            break
        time.sleep(1)
    for name, selector in _SELECTORS.items():
        # A sum of doubles depends on its order, but not in the digits that are compared.
        check.found[name] = _number(prometheus, f"sum(last_over_time({selector}[1h]))", now)
    return check


def _number(prometheus: Prometheus, promql: str, at: float) -> float:
    found = prometheus.query(promql, at)
    return float(found[0]["value"][1]) if found else 0.0


_DISTRIBUTIONS = "butterfly_.+_(duration_seconds|bytes)"
_SELECTORS = {
    "counters": '{__name__=~"butterfly_.+_total"}',
    "counts": f'{{__name__=~"{_DISTRIBUTIONS}_count"}}',
    "sums": f'{{__name__=~"{_DISTRIBUTIONS}_sum"}}',
    "buckets": '{__name__=~"butterfly_.+_bucket"}',
    "gauges": '{__name__=~"butterfly_.+",__name__!~".+_(total|bucket|count|sum)",quantile="",'
    '__name__!~"butterfly_(request_queue|layer_attention|resource_swap|barrier)_duration_seconds"}',
}


def _samples_by_request(ledger: SenderLedger, traffic: Traffic) -> dict[int, int]:
    """Samples that each metrics request becomes."""
    if traffic.metrics is None:
        return {}
    found = {}
    for (number, index), (_, _, moment) in ledger.reports.items():
        if number == 0:
            payload = traffic.metrics.requests[index].encode(moment, None, ledger.clock)
            found[index] = count_samples(payload)
    return found


def count_samples(payload: bytes) -> int:
    """Samples that a serialised metrics request becomes, without `target_info`."""
    total = 0
    for group in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data") or ""
                for point in getattr(metric, kind).data_points:
                    if kind == "histogram":
                        total += len(point.bucket_counts) + 2
                    else:
                        total += len(point.quantile_values) + 2 if kind == "summary" else 1
    return total


def check_records(victoria_logs: VictoriaLogs, ledger: SenderLedger, traffic: Traffic, within: float = 10.0) -> Check:
    """Of the logs: each record is there, once, and no other. But for those whose id looks personal, one in two
    thousand: the scrubber may mask it. Looks again for what isn't found."""
    if traffic.logs is None:
        return Check()
    sent: list[np.ndarray] = []
    for (cycle, request), (outcome, _) in ledger.logs.items():
        if outcome is Outcome.ACKED:
            sent.append(record_ids(ledger.shape.seed, cycle, traffic.logs.requests[request].rows))
    wanted = np.sort(np.concatenate(sent)) if sent else np.zeros(0, np.uint64)
    wanted = np.array([each for each in wanted.tolist() if not looks_personal(f"{each:016x}")], np.uint64)
    check = Check({"records": float(len(wanted)), "lost": 0.0, "extra": 0.0, "copies": 0.0})
    give_up = time.monotonic() + within
    while True:
        found = _record_ids_in(victoria_logs)
        own = np.unique(found)
        lost = wanted[~np.isin(wanted, own)]
        if not len(lost) or time.monotonic() > give_up:
            break
        check.examples = [f"not found at once: {', '.join(f'{each:016x}' for each in lost[:5].tolist())}"]
        time.sleep(1)
    check.found = {
        "records": float(len(own)),
        "lost": float(len(lost)),
        "extra": float((~np.isin(own, wanted)).sum()),
        "copies": float(len(found) - len(own)),
    }
    return check


def _record_ids_in(victoria_logs: VictoriaLogs) -> np.ndarray:
    """Of every line that has one which doesn't look personal."""
    matches = (_UID.search(line) for line in victoria_logs.lines("*"))
    texts = (match[1].decode() for match in matches if match)
    return np.array([int(text, 16) for text in texts if not looks_personal(text)], np.uint64)
