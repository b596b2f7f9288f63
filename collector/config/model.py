"""The configuration as the rest of the gateway sees it: frozen, checked, with lines for later messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import ValidationInfo, field_validator

from collector.component.connector import DurableConnector
from collector.component.kind import Kind
from collector.options import Options, Size, option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from collector.batch import Signal
    from collector.component.base import Component
    from collector.component.connector import Reader
    from collector.component.processor import Lookahead
    from collector.config.problems import Path as YamlPath
    from collector.config.substitution import Expansion


class LogsOptions(Options):
    """`service.telemetry.logs`"""

    level: Literal["debug", "info", "warn", "error"] = option("info", about="The gateway's own log level.")
    encoding: Literal["console", "json"] = option("console", about="How the gateway writes its own log.")


class MetricsOptions(Options):
    """`service.telemetry.metrics`"""

    address: str = option(
        "localhost:8888",
        about="host:port of the gateway's own metrics and admin page; port 0 takes any free one.",
    )

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("expected host:port such as localhost:8888")
        return value


class TelemetryOptions(Options):
    """`service.telemetry`"""

    logs: LogsOptions = option(LogsOptions(), about="The gateway's own log.")
    metrics: MetricsOptions = option(MetricsOptions(), about="The gateway's own metrics.")


class DeadLetterOptions(Options):
    """`service.dead_letter`"""

    directory: Path = option(
        Path("butterfly-data/dead-letter"),
        about="Where refused data is kept; `dead-letter` in data_dir when absent.",
    )
    max_size: Size = option(1 << 30, about="Bytes that are kept at the most; beyond, exporters wait.", gt=0)


class PipelineOptions(Options):
    """One entry of `service.pipelines`."""

    receivers: tuple[str, ...] = option(about="Receivers, or connectors that are read.", min_length=1)
    processors: tuple[str, ...] = option((), about="Processors, in order.")
    exporters: tuple[str, ...] = option(about="Exporters, or connectors that are written.", min_length=1)


class ServiceOptions(Options):
    """The section `service`."""

    extensions: tuple[str, ...] = option((), about="Extensions that run.")
    pipelines: dict[str, PipelineOptions] = option({}, about="Pipelines by `signal` or `signal/name`.")
    telemetry: TelemetryOptions = option(TelemetryOptions(), about="What the gateway says about itself.")
    data_dir: Path = option(
        Path("butterfly-data"), about="Where the gateway keeps files, relative to the working directory."
    )
    dead_letter: DeadLetterOptions = option(
        DeadLetterOptions(), about="Where data goes that no backend takes.", validate_default=True
    )
    inflight_limit: Size = option(
        128 << 20, about="Wire bytes inside the gateway at once; beyond, senders are told to wait.", gt=0
    )

    lookahead_memory: Size = option(
        128 << 20,
        about="Bytes of undecided telemetry that a pipeline without a durable connector keeps.",
        gt=0,
    )

    @field_validator("dead_letter")
    @classmethod
    def _inside_data_dir(cls, value: DeadLetterOptions, info: ValidationInfo) -> DeadLetterOptions:
        if "directory" in value.model_fields_set or "data_dir" not in info.data:
            return value
        return value.model_copy(update={"directory": info.data["data_dir"] / "dead-letter"})


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One configured component. `config` is an instance of `cls.Config`."""

    id: str
    kind: Kind
    type_name: str
    cls: type[Component]
    config: Any = field(repr=False)
    line: int


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """One pipeline; the tuples hold component IDs, and those of connectors on either side."""

    id: str
    signal: Signal
    receivers: tuple[str, ...]
    processors: tuple[str, ...]
    exporters: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """A pipeline that decides about traces. `cls` reads its verdicts; `connectors` are those that have their journals,
    none where they are in the memory of one process."""

    pipeline: str
    cls: type[Lookahead]
    connectors: tuple[ComponentSpec, ...]

    @property
    def shared(self) -> tuple[ComponentSpec, ...]:
        """The connectors that let other processes know the verdicts."""
        return tuple(spec for spec in self.connectors if issubclass(spec.cls, DurableConnector) and spec.cls.shared)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """A configuration that can run. `components` has an entry for every kind; `warnings` are sentences."""

    path: Path
    components: Mapping[Kind, Mapping[str, ComponentSpec]]
    pipelines: Mapping[str, PipelineSpec]
    service: ServiceOptions
    warnings: tuple[str, ...] = ()
    readers: Mapping[str, tuple[Reader, ...]] = field(default_factory=dict)
    """By the connector's ID: the pipelines of the whole file that read it, whichever of them are selected."""
    samplers: tuple[SamplerSpec, ...] = ()
    """Those of the whole file, whichever pipelines are selected."""
    origins: Mapping[YamlPath, Expansion] = field(default_factory=dict, repr=False)
    """Every value that substitution brought in, by its place in the YAML; for `print-config`."""

    @property
    def receivers(self) -> Mapping[str, ComponentSpec]:
        """Receivers by ID."""
        return self.components[Kind.RECEIVERS]

    @property
    def processors(self) -> Mapping[str, ComponentSpec]:
        """Processors by ID."""
        return self.components[Kind.PROCESSORS]

    @property
    def exporters(self) -> Mapping[str, ComponentSpec]:
        """Exporters by ID."""
        return self.components[Kind.EXPORTERS]

    @property
    def connectors(self) -> Mapping[str, ComponentSpec]:
        """Connectors by ID."""
        return self.components[Kind.CONNECTORS]

    @property
    def extensions(self) -> Mapping[str, ComponentSpec]:
        """Extensions by ID."""
        return self.components[Kind.EXTENSIONS]

    def parts(self, pipeline: PipelineSpec) -> Iterator[ComponentSpec]:
        """What works on the batches of `pipeline`: its processors, and what it exports to."""
        yield from (self.processors[id_] for id_ in pipeline.processors)
        yield from (self.connectors.get(id_) or self.exporters[id_] for id_ in pipeline.exporters)


class ComponentSource(Protocol):
    """Where classes come from: `collector.registry.Registry`, or a test's own."""

    def load(self, kind: Kind, type_name: str, folder: Path) -> type[Component]:
        """The class of a type; files are relative to `folder`.

        Raises `ConfigError` with one sentence.
        """
