"""What the generated metrics depend on, beside the traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.generator.metric_catalogue import METRICS

Temporality = Literal["cumulative", "delta", "mixed"]
DEFAULT_SERIES = 10_000


@dataclass(frozen=True, slots=True)
class MetricShape:
    """`series`: how many there are at least; the spans alone make some thousands. `batch`: points a request at most.
    `temporality` of counters and histograms: `mixed` makes every other one a delta. `explode`: distinct values of a
    label that nobody should have, one more series each.
    """

    series: int = DEFAULT_SERIES
    batch: int = 1000
    temporality: Temporality = "cumulative"
    explode: int = 0

    def deltas(self) -> frozenset[str]:
        """Names of the metrics with delta temporality."""
        monotonic = [
            name for name, metric in METRICS.items() if metric.kind in {"counter", "histogram", "exponential_histogram"}
        ]
        if self.temporality == "mixed":
            return frozenset(monotonic[1::2])
        return frozenset(monotonic if self.temporality == "delta" else ())
