"""Components of every shape that the configuration's checks know, and a source of them by type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from collector.api import (
    Batch,
    DerivingConnector,
    DurableConnector,
    Duration,
    Exporter,
    ExporterOptions,
    Extension,
    Lookahead,
    Options,
    Processor,
    Receiver,
    Secret,
    Signal,
    Size,
    Stateful,
    option,
    seconds,
)
from collector.component.kind import Kind
from collector.errors import ConfigError


class Endpoint(Options):
    endpoint: str = option("localhost:4317", about="Where it listens.")
    max_size: Size = option(4 << 20, about="Largest request.", ge=1 << 10)


class Protocols(Options):
    grpc: Endpoint = option(Endpoint(), about="gRPC.")
    http: Endpoint | None = option(None, about="HTTP.")


class OtlpReceiver(Receiver):
    """Takes OTLP."""

    class Config(Options):
        protocols: Protocols = option(Protocols(), about="What it speaks.")


class StatusPolicy(Options):
    type: Literal["status"]
    codes: tuple[Literal["ERROR", "OK"], ...] = option(about="Codes that are kept.", min_length=1)


class LatencyPolicy(Options):
    type: Literal["latency"]
    latency: Duration = option(about="Longest.", gt=0, le=seconds(3600))


class Sampler(Lookahead):
    """Samples."""

    signals = frozenset({Signal.TRACES})

    class Config(Options):
        decision_wait: Duration = option(seconds(10), about="Wait.", gt=0)
        num_traces: int = option(100, about="Traces.", ge=1)
        ratio: float = option(0.1, about="Share.", ge=0, le=1)
        enabled: bool = option(True, about="Whether it samples.")
        policies: tuple[Annotated[StatusPolicy | LatencyPolicy, Field(discriminator="type")], ...] = option(
            (), about="Policies."
        )

    def observe(self, batch: Batch, position: int, now_ns: int) -> None: ...
    def boundary(self) -> int:
        return 0

    def take_verdicts(self) -> None: ...
    def restore(self, blob: bytes) -> None: ...
    def settled(self, position: int) -> None: ...
    def shed(self, position: int) -> None: ...
    def decide_all(self) -> None: ...


class PureProcessor(Processor):
    """Changes nothing."""

    pure = True


class HoldingProcessor(Processor):
    """Holds batches."""


class StatefulProcessor(Stateful):
    """Remembers."""

    def snapshot(self) -> bytes:
        return b""

    def restore(self, blob: bytes) -> None: ...


class Tls(Options):
    ca: str | None = option(None, about="CA.")
    key: Secret | None = option(None, about="Key.")


class OtlpExporter(Exporter):
    """Sends OTLP."""

    class Config(ExporterOptions):
        endpoint: str = option(about="Where the backend listens.")
        headers: dict[str, Secret] = option({}, about="Headers.")
        token: Secret = option(Secret(""), about="Token.")
        tls: Tls = option(Tls(), about="TLS.")
        pin: int | None = option(None, about="A number.")
        mode: Literal["fast", "safe"] = option("safe", about="How.")

    @classmethod
    def problems(cls, config):
        return [(("endpoint",), "expected host:port, got no port")] if ":" not in config.endpoint else []

    @classmethod
    def warnings(cls, config):
        return [(("mode",), "fast loses data")] if config.mode == "fast" else []


class FaultyExporter(Exporter):
    """Fails in its own check."""

    @classmethod
    def problems(cls, config):
        raise RuntimeError("hunter2")


class BrokenOptions(ExporterOptions):
    @field_validator("timeout", mode="before")
    @classmethod
    def fails(cls, value):
        raise KeyError(value)


class BrokenExporter(Exporter):
    """Its options fail in a way of their own."""

    Config = BrokenOptions


class LogsExporter(Exporter):
    """Takes logs alone."""

    signals = frozenset({Signal.LOGS})


class DiskConnector(DurableConnector):
    """A log on disk."""

    signals = frozenset({Signal.TRACES})

    class Config(Options):
        max_size: Size = option(1 << 30, about="Room.", gt=0)


class SharedConnector(DurableConnector):
    """A log of every signal."""


class Counting(DerivingConnector):
    """Makes metrics of traces."""

    signals = frozenset({Signal.TRACES})
    source, target = Signal.TRACES, Signal.METRICS


class Health(Extension):
    """Answers."""


CLASSES = {
    Kind.RECEIVERS: {"otlp": OtlpReceiver},
    Kind.PROCESSORS: {
        "sampler": Sampler,
        "pure": PureProcessor,
        "holding": HoldingProcessor,
        "stateful": StatefulProcessor,
    },
    Kind.EXPORTERS: {"otlp": OtlpExporter, "logs": LogsExporter, "faulty": FaultyExporter, "broken": BrokenExporter},
    Kind.CONNECTORS: {"disk": DiskConnector, "shared": SharedConnector, "counting": Counting},
    Kind.EXTENSIONS: {"health": Health},
}


class Source:
    """Gives the classes above."""

    def load(self, kind, type_name, folder):
        if type_name not in CLASSES[kind]:
            raise ConfigError([f"unknown {kind.word} type {type_name!r}"])
        return CLASSES[kind][type_name]
