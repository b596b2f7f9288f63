"""What the cardinality limiter costs: `python -m bench.micro_cardinality [series]`.

Requests of 500 points with five attributes each, over a million active series in random order, so that nearly every
point is a cache miss in the table. `admitted` is the way of a point that passes; `admitted_labels_counted` the same
where values of labels are limited; `overflow`, `drop_label` and `drop` are ways of a point of a series that is over the
limit and was seen before, cumulative sums, rewriting included; `new` is the way of a point of a series that is new and
over the limit, at a hundred thousand of them. The best of three rounds of processor time counts. Memory is the
process's own, by the growth of what is resident.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import Rules

POINTS = 500
SERIES = 1_000_000
MEASURED = 400
ROUNDS = 3
_MARK = "$$$$$$$$"
_TIME = 0x1122334455667788


def template() -> tuple[bytes, np.ndarray, int]:
    """A request, where in it the points' series stand (8 digits each), and how many bytes it has."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for number in range(10):
        resource.resource.attributes.add(key=f"resource.{number}").value.string_value = "value"
    scope = resource.scope_metrics.add()
    scope.scope.name = "inference"
    for number in range(POINTS // 50):
        metric = scope.metrics.add(name=f"butterfly.layer.metric.{number}", unit="1")
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = True
        for _ in range(50):
            point = metric.sum.data_points.add(start_time_unix_nano=1, time_unix_nano=_TIME, as_int=1)
            for key, value in (("node.id", _MARK), ("layer", "117"), ("device", "cuda:0"), ("phase", "decode")):
                point.attributes.add(key=key).value.string_value = value
            point.attributes.add(key="batched").value.bool_value = True
    plain = request.SerializeToString()
    places = [at for at in range(len(plain)) if plain.startswith(_MARK.encode(), at)]
    return plain, np.array(places), len(plain)


class Requests:
    """Makes requests of given series; each later in time than the one before."""

    def __init__(self) -> None:
        plain, self._places, self.size = template()
        self._buffer = np.frombuffer(plain, np.uint8).copy()
        mark = _TIME.to_bytes(8, "little")
        self._times = [at for at in range(len(plain)) if plain.startswith(mark, at)]
        self._now = 1

    def of(self, series: np.ndarray) -> bytes:
        """One request whose points belong to `series`, POINTS numbers below 10^8."""
        self._now += 1
        digits = (series[:, None] // 10 ** np.arange(7, -1, -1)) % 10 + ord("0")
        self._buffer[self._places[:, None] + np.arange(8)] = digits
        now = np.frombuffer(self._now.to_bytes(8, "little"), np.uint8)
        self._buffer[np.array(self._times)[:, None] + np.arange(8)] = now
        return self._buffer.tobytes()


def limiter(**options: Any) -> Limiter:
    """One with these options."""
    config = CardinalityLimiterOptions(**options)
    return Limiter(
        Rules(config),
        window_ns=config.window,
        max_series=config.max_series,
        max_metrics=config.max_metrics,
        max_aggregates=config.max_aggregated_series,
        max_state=config.max_state_size,
    )


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def timed(ours: Limiter, payloads: list[bytes]) -> float:
    """Nanoseconds a point."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for payload in payloads:
            ours.limit_request(payload)
        best = min(best, (time.process_time_ns() - began) / len(payloads) / POINTS)
    return best


def main() -> None:
    """Measure and print."""
    series = int(sys.argv[1]) if len(sys.argv) > 1 else SERIES
    requests, rng = Requests(), np.random.default_rng(1)
    found: dict[str, float] = {"series": series, "bytes_a_point": requests.size / POINTS}

    # The i-th point of a request is always of the same metric: its series are those whose number is i modulo POINTS.
    place = np.arange(POINTS)

    def admitted(**options: Any) -> tuple[Limiter, np.ndarray]:
        gc.collect()
        before = resident()
        ours = limiter(max_series=2 * series, **options)
        for start in range(series // POINTS):
            ours.limit_request(requests.of(POINTS * start + place))
        found["resident_bytes_a_series"] = (resident() - before) / series
        return ours, POINTS * rng.integers(0, series // POINTS, (MEASURED, POINTS)) + place

    ours, chosen = admitted()
    found["admitted_ns"] = timed(ours, [requests.of(each) for each in chosen])
    found["table_bytes_a_series"] = ours.memory / ours.active
    began = time.process_time()
    blob = b"".join(ours.state_pieces())
    found["state_blob_ms"], found["state_blob_mb"] = (time.process_time() - began) * 1e3, len(blob) / 1e6
    again = limiter(max_series=2 * series)
    began = time.process_time()
    again.load_state(blob)
    found["load_state_ms"] = (time.process_time() - began) * 1e3
    began = time.process_time()
    for _ in range(64):
        ours.pass_time(10**8)
    found["tick_us"] = (time.process_time() - began) / 64 * 1e6
    del ours, again, blob
    ours, chosen = admitted(max_values_per_label=4 * series)
    found["admitted_labels_counted_ns"] = timed(ours, [requests.of(each) for each in chosen])
    del ours
    for action in ("overflow", "drop_label", "drop"):
        ours = limiter(
            max_series_per_metric=1,
            max_state_size="4GiB",
            overrides=[{"metrics": ["*"], "action": action, "drop_labels": ["node.id"] * (action == "drop_label")}],
        )
        members = POINTS * rng.integers(0, 200, (MEASURED, POINTS)) + place
        for start in range(200):
            ours.limit_request(requests.of(POINTS * start + place))
        if ours.folded:
            found[f"{action}_bytes_a_member"] = ours.memory / ours.folded
        found[f"{action}_ns"] = timed(ours, [requests.of(each) for each in members])
        fresh = [requests.of(POINTS * (10_000 + at) + place) for at in range(200)]
        began = time.process_time_ns()
        for payload in fresh:
            ours.limit_request(payload)
        found[f"{action}_new_ns"] = (time.process_time_ns() - began) / len(fresh) / POINTS
    print(json.dumps({name: round(value, 1) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
