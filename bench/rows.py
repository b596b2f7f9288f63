"""What is measured: the workloads of the benchmark at their batch sizes and rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Workload = Literal["null", "pass", "tail", "full", "full-no-pii", "kafka"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `batch`: spans a request. `rate`: spans a second, 0 for as fast as it goes. `wait`: the
    sampler's decision wait in seconds, 0 where there is no sampler."""

    workload: Workload
    batch: int
    rate: int = 0
    wait: float = 0.0

    @property
    def name(self) -> str:
        pace = f" {self.rate // 1000}K/s" if self.rate else ""
        wait = f" wait {self.wait:g}s" if self.wait else ""
        return f"{self.workload} n={self.batch}{pace}{wait}"

    @property
    def forwards(self) -> bool:
        """Does anything arrive at the sink?"""
        return self.workload != "null"

    @property
    def bare(self) -> Row:
        """The same traffic merely passed on: what a program without the row's pipeline is measured with beside it."""
        return Row("pass", self.batch, self.rate)


QUICK = (Row("pass", 100), Row("full", 100, wait=2))

DEFAULT = (
    Row("null", 100),
    Row("pass", 100),
    Row("pass", 500),
    Row("pass", 100, rate=10_000),
    Row("pass", 10, rate=10_000),
    Row("tail", 100, wait=2),
    Row("full", 100, wait=2),
    Row("full-no-pii", 100, wait=2),
    Row("full", 100, rate=10_000, wait=2),
    Row("full-no-pii", 100, rate=10_000, wait=2),
    Row("kafka", 100, wait=2),
    Row("kafka", 100, rate=10_000, wait=2),
)

ALL = (
    *(Row("null", batch) for batch in (1, 10, 100, 500, 2000)),
    *(Row("pass", batch) for batch in (1, 10, 100, 500, 2000)),
    *(Row("pass", batch, rate=10_000) for batch in (100, 10)),
    Row("pass", 100, rate=100_000),
    *(Row("tail", batch, wait=wait) for batch in (100, 500) for wait in (2, 10)),
    *(Row("tail", batch, rate=10_000, wait=2) for batch in (100, 10)),
    *(Row("full", batch, wait=2) for batch in (1, 10, 100, 500)),
    *(Row("full", batch, rate=10_000, wait=2) for batch in (100, 10)),
    Row("full", 100, rate=100_000, wait=2),
    *(Row("full-no-pii", batch, wait=2) for batch in (1, 10, 100, 500)),
    *(Row("full-no-pii", batch, rate=10_000, wait=2) for batch in (100, 10)),
    Row("full-no-pii", 100, rate=100_000, wait=2),
    *(Row("kafka", batch, wait=2) for batch in (10, 100, 500)),
    *(Row("kafka", batch, rate=10_000, wait=2) for batch in (100, 10)),
)
