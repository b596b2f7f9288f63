"""The `prometheus_remote_write` exporter: metrics to Prometheus and to what takes its remote write."""

from exporters.prometheus_remote_write.exporter import PrometheusRemoteWriteExporter
from exporters.prometheus_remote_write.options import RemoteWriteOptions

__all__ = ["PrometheusRemoteWriteExporter", "RemoteWriteOptions"]
