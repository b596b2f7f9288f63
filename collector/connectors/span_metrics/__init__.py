"""The `span_metrics` connector: rates, errors and durations, counted on all spans."""

from collector.connectors.span_metrics.connector import SpanMetricsConnector
from collector.connectors.span_metrics.options import SpanMetricsOptions

__all__ = ["SpanMetricsConnector", "SpanMetricsOptions"]
