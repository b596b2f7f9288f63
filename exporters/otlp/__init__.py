"""The `otlp` exporter: OTLP over gRPC, or over HTTP by option."""

from exporters.otlp.exporter import OtlpExporter
from exporters.otlp.options import KeepaliveOptions, OtlpOptions, TlsOptions

__all__ = ["KeepaliveOptions", "OtlpExporter", "OtlpOptions", "TlsOptions"]
