"""How components count: plain Prometheus instruments, named in the catalogue, in a registry of the gateway's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from collector.telemetry.catalogue import CATALOGUE, Metric

if TYPE_CHECKING:
    from collections.abc import Callable


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads


class Meter:
    """Hands out the instruments of one gateway. The same name always gives the same instrument.

    Keep the labelled child (`meter.counter(name).labels(...)`), not the name, where something is counted per batch.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, metric: str | Metric) -> Counter:
        """A counter of the catalogue, or one that a custom component defines."""
        return cast("Counter", self._instrument(metric, "counter"))

    def gauge(self, metric: str | Metric) -> Gauge:
        """A gauge of the catalogue, or one that a custom component defines."""
        return cast("Gauge", self._instrument(metric, "gauge"))

    def histogram(self, metric: str | Metric) -> Histogram:
        """A histogram of the catalogue, or one that a custom component defines."""
        return cast("Histogram", self._instrument(metric, "histogram"))

    def watch(self, metric: str | Metric, read: Callable[[], float], **labels: str) -> None:
        """A gauge that is read when it is scraped, so that nothing is spent between scrapes."""
        gauge = self.gauge(metric)
        (gauge.labels(**labels) if labels else gauge).set_function(read)

    def _instrument(self, metric: str | Metric, kind: str) -> Counter | Gauge | Histogram:
        if isinstance(metric, str):
            metric = CATALOGUE[metric]
        if metric.kind != kind:
            raise ValueError(f"{metric.name} is a {metric.kind}, not a {kind}")
        made = self._made.get(metric.name)
        if made is None:
            if kind == "counter":
                made = Counter(metric.name, metric.about, metric.labels, registry=self.registry)
            elif kind == "gauge":
                made = Gauge(metric.name, metric.about, metric.labels, registry=self.registry)
            else:
                made = Histogram(
                    metric.name, metric.about, metric.labels, registry=self.registry, buckets=metric.buckets
                )
            self._made[metric.name] = made
        return made
