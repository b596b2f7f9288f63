"""The `jaeger` exporter: `otlp` with Jaeger's defaults. Jaeger takes OTLP since version 1.35."""

from __future__ import annotations

from typing import Any, Self

from pydantic import model_validator

from collector.api import Signal
from exporters.otlp import OtlpExporter, OtlpOptions, TlsOptions


class JaegerOptions(OtlpOptions):
    """Options of `jaeger`: those of `otlp`. Without `tls`, a Jaeger on the same machine is spoken to in
    plaintext.
    """

    @model_validator(mode="after")
    def _plaintext_on_this_machine(self) -> Self:
        target = self.target(Signal.TRACES)
        if "tls" in self.model_fields_set or not target.loopback or target.scheme == "https":
            return self
        changed: dict[str, Any] = {"tls": TlsOptions(insecure=True)}
        self.__dict__.update(changed)
        return self


class JaegerExporter(OtlpExporter):
    """Sends traces to Jaeger. See `docs/components/jaeger.md`."""

    Config = JaegerOptions
    signals = frozenset({Signal.TRACES})
