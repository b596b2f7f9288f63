"""The state of the running graph, as Prometheus families, read at the scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from collector.telemetry.exposition import gauge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from collector.graph.graph import Graph


class GraphExposition(Collector):
    """Positions on the logs, and bytes at the door."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def collect(self) -> Iterable[Metric]:
        rows = [
            ((id_, runner.partition.name, runner.account.pipeline), runner) for id_, runner in self._graph.runners()
        ]
        yield gauge("butterfly_log_end", ((labels, each.partition.end) for labels, each in rows))
        yield gauge(
            "butterfly_log_head",
            ((labels, each.head.position if each.head else each.tail.position) for labels, each in rows),
        )
        yield gauge("butterfly_log_tail", ((labels, each.tail.position) for labels, each in rows))
        yield gauge("butterfly_log_committed", ((labels, each.tail.watermark.position) for labels, each in rows))
        yield gauge("butterfly_log_lag_seconds", ((labels, each.lag_seconds()) for labels, each in rows))
        yield gauge("butterfly_inflight_bytes", [((), self._graph.parts.admission.inflight)])
