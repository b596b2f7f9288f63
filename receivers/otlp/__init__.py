"""OTLP in: the `otlp` receiver, over gRPC and HTTP."""

from receivers.otlp.receiver import OtlpReceiver

__all__ = ["OtlpReceiver"]
