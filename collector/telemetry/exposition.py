"""What is read only when somebody scrapes: the ledger and the process, as Prometheus families."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from collector.ack import leaked
from collector.telemetry.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Metric

    from collector.telemetry.ledger import Ledger

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - read ten times a second, without a Path object
        return int(file.read().split()[1]) * _PAGE


def gauge(name: str, samples: Iterable[tuple[Sequence[str], float]]) -> GaugeMetricFamily:
    """A gauge family of the catalogue with `(label values, value)` samples."""
    family = GaugeMetricFamily(name, CATALOGUE[name].about, labels=CATALOGUE[name].labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def counter(name: str, samples: Iterable[tuple[Sequence[str], float]]) -> CounterMetricFamily:
    """A counter family of the catalogue with `(label values, value)` samples."""
    family = CounterMetricFamily(name, CATALOGUE[name].about, labels=CATALOGUE[name].labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


class LedgerExposition(Collector):
    """The books, the process, and the acks that were leaked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._born = monotonic()

    def collect(self) -> Iterable[Metric]:
        accounts = list(self._ledger.accounts.values())
        yield counter("butterfly_accepted_items_total", (((a.pipeline,), a.accepted) for a in accounts))
        yield counter("butterfly_delivered_items_total", (((a.pipeline,), a.delivered) for a in accounts))
        for books in ("filtered", "dead_lettered", "returned", "lost"):
            yield counter(
                f"butterfly_{books}_items_total",
                (
                    ((account.pipeline, reason), items)
                    for account in accounts
                    for reason, items in list(getattr(account, books).items())
                ),
            )
        yield gauge("butterfly_held_items", (((a.pipeline,), a.held) for a in accounts))
        yield counter("butterfly_leaked_acks_total", [((), leaked())])
        yield gauge("butterfly_uptime_seconds", [((), monotonic() - self._born)])
        yield gauge("butterfly_resident_memory_bytes", [((), resident_bytes())])
