"""The `loki` exporter: Loki's push API in protobuf, or its OTLP endpoint by option."""

from exporters.loki.exporter import LokiExporter
from exporters.loki.options import AttributeOptions, LimitOptions, LokiOptions

__all__ = ["AttributeOptions", "LimitOptions", "LokiExporter", "LokiOptions"]
