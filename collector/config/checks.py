"""What must hold between the parts of a configuration: references, connectors, cycles, lookahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.api import Admitting, DerivingConnector, DurableConnector, Lookahead, Processor, Stateful
from collector.component.kind import Kind
from collector.config.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from collector.component.base import Component
    from collector.config.model import PipelineSpec
    from collector.config.problems import Path, Problems


class Checks:
    """One run over a configuration.

    `classes` holds every ID that the YAML defines, with None where the class couldn't be loaded; `extensions`
    are the IDs that `service.extensions` lists.
    """

    def __init__(
        self,
        classes: Mapping[Kind, Mapping[str, type[Component] | None]],
        pipelines: Mapping[str, PipelineSpec],
        extensions: Sequence[str],
        problems: Problems,
    ) -> None:
        self._classes = classes
        self._pipelines = pipelines
        self._extensions = extensions
        self._problems = problems
        self._used: set[tuple[Kind, str]] = set()

    def run(self) -> None:
        """Report everything that is wrong."""
        self._ids_are_unambiguous()
        for pipeline in self._pipelines.values():
            self._references(pipeline)
            self._lookahead(pipeline)
            self._stateful(pipeline)
        for at, extension in enumerate(self._extensions):
            self._reference(("service", "extensions", at), extension, (Kind.EXTENSIONS,))
        self._connectors()
        self._cycles()
        self._unused()

    def _ids_are_unambiguous(self) -> None:
        for connector in self._classes[Kind.CONNECTORS]:
            for kind in (Kind.RECEIVERS, Kind.EXPORTERS):
                if connector in self._classes[kind]:
                    self._problems.error(
                        (Kind.CONNECTORS.value, connector),
                        f"this ID is also under {kind.value}, so a pipeline can't tell which is meant; "
                        f"give one of them a name ({connector}/name)",
                    )

    def _references(self, pipeline: PipelineSpec) -> None:
        base = ("service", "pipelines", pipeline.id)
        sections = (
            (pipeline.receivers, Kind.RECEIVERS, (Kind.RECEIVERS, Kind.CONNECTORS)),
            (pipeline.processors, Kind.PROCESSORS, (Kind.PROCESSORS,)),
            (pipeline.exporters, Kind.EXPORTERS, (Kind.EXPORTERS, Kind.CONNECTORS)),
        )
        for ids, section, kinds in sections:
            for at, component in enumerate(ids):
                path = (*base, section.value, at)
                kind = self._reference(path, component, kinds)
                if component in ids[:at]:
                    self._problems.error(path, f"{component!r} is listed twice in this pipeline")
                cls = self._classes[kind].get(component) if kind is not None else None
                # A connector's signals are those it takes; what it gives is the reading pipeline's affair.
                reads_connector = kind is Kind.CONNECTORS and section is Kind.RECEIVERS
                if kind is not None and cls is not None and not reads_connector and pipeline.signal not in cls.signals:
                    takes = ", ".join(sorted(signal.value for signal in cls.signals)) or "no signal"
                    self._problems.error(
                        path, f"the {kind.word} {component!r} takes {takes}, not {pipeline.signal.value}"
                    )

    def _reference(self, path: Path, component: str, kinds: Sequence[Kind]) -> Kind | None:
        for kind in kinds:
            if component in self._classes[kind]:
                self._used.add((kind, component))
                return kind
        defined = [known for kind in kinds for known in self._classes[kind]]
        sections = " or ".join(kind.value for kind in kinds)
        elsewhere = next((kind for kind in Kind if component in self._classes[kind]), None)
        if elsewhere is not None:
            sentence = f"{component!r} is defined under {elsewhere.value}, but this list takes {sections}"
        else:
            hint = did_you_mean(component, defined)
            known = ", ".join(defined) or "none"
            sentence = f"{component!r} is not defined under {sections}{hint} (defined: {known})"
        self._problems.error(path, sentence)
        return None

    def _lookahead(self, pipeline: PipelineSpec) -> None:
        base = ("service", "pipelines", pipeline.id)
        durable = [self._is_durable(receiver) for receiver in pipeline.receivers]
        if any(durable) and not all(durable):
            plain = ", ".join(r for r, is_durable in zip(pipeline.receivers, durable, strict=True) if not is_durable)
            self._problems.error(
                (*base, "receivers"),
                f"a durable connector can't be mixed with other receivers ({plain}): send those into the "
                "connector, from a pipeline of their own",
            )
        classes = [self._classes[Kind.PROCESSORS].get(processor) for processor in pipeline.processors]
        positions = [at for at, cls in enumerate(classes) if cls is not None and issubclass(cls, Lookahead)]
        if not positions:
            return
        first = positions[0]
        lookahead = pipeline.processors[first]
        for at in positions[1:]:
            self._problems.error(
                (*base, "processors", at),
                f"a pipeline can have one lookahead processor, and {lookahead!r} is one already: "
                "put a connector between the two",
            )
        for at, cls in enumerate(classes[:first]):
            if cls is not None and issubclass(cls, Processor) and not cls.pure:
                self._problems.error(
                    (*base, "processors", at),
                    f"{pipeline.processors[at]!r} can't stand before {lookahead!r}: what stands there runs on "
                    "both readings of the log and must be pure, and this processor isn't; move it behind, or "
                    "before the connector",
                )
        if not any(durable):
            self._problems.warn(
                (*base, "processors", first),
                f"{lookahead!r} is not behind a durable connector: undecided traces are lost on a crash",
            )

    def _stateful(self, pipeline: PipelineSpec) -> None:
        """A state is that of a position of the log, so nothing before its processor may hold batches."""
        if not any(self._is_durable(receiver) for receiver in pipeline.receivers):
            return
        classes = [self._classes[Kind.PROCESSORS].get(processor) for processor in pipeline.processors]
        stateful = [at for at, cls in enumerate(classes) if cls is not None and issubclass(cls, Stateful)]
        for at, cls in enumerate(classes[: stateful[-1]] if stateful else ()):
            if cls is None or not issubclass(cls, Processor) or cls.pure:
                continue
            if not issubclass(cls, (Lookahead, Stateful, Admitting)):
                behind = pipeline.processors[stateful[-1]]
                self._problems.error(
                    ("service", "pipelines", pipeline.id, "processors", at),
                    f"{pipeline.processors[at]!r} can't stand before {behind!r}, whose state is kept with a position "
                    "of the log: what stands before it must be pure; move it behind, or before the connector",
                )

    def _is_durable(self, receiver: str) -> bool:
        cls = self._classes[Kind.CONNECTORS].get(receiver)
        return cls is not None and issubclass(cls, DurableConnector)

    def _connectors(self) -> None:
        for connector, cls in self._classes[Kind.CONNECTORS].items():
            writers = [p for p in self._pipelines.values() if connector in p.exporters]
            readers = [p for p in self._pipelines.values() if connector in p.receivers]
            path = (Kind.CONNECTORS.value, connector)
            if writers and not readers:
                self._problems.error(
                    path, f"no pipeline reads it: {connector!r} must be among some pipeline's receivers"
                )
            if readers and not writers:
                self._problems.error(
                    path, f"no pipeline writes it: {connector!r} must be among some pipeline's exporters"
                )
            if cls is not None and issubclass(cls, DerivingConnector):
                self._derived(connector, cls, readers)
            if not (writers and readers and cls is not None and issubclass(cls, DurableConnector)):
                continue
            written = {p.signal for p in writers}
            read = {p.signal for p in readers}
            for signal in sorted(written ^ read, key=lambda signal: signal.value):
                does, other = ("written", "read") if signal in written else ("read", "written")
                self._problems.error(path, f"{signal.value} are {does} here by one pipeline and {other} by none")

    def _derived(self, connector: str, cls: type[DerivingConnector], readers: Sequence[PipelineSpec]) -> None:
        for pipeline in readers:
            if pipeline.signal is not cls.target:
                self._problems.error(
                    ("service", "pipelines", pipeline.id, "receivers", pipeline.receivers.index(connector)),
                    f"{connector!r} makes {cls.target.value} of {cls.source.value}: it can't feed a pipeline of "
                    f"{pipeline.signal.value}",
                )

    def _cycles(self) -> None:
        connectors = self._classes[Kind.CONNECTORS]
        following: dict[str, list[tuple[str, str]]] = {
            p.id: [
                (connector, reader.id)
                for connector in p.exporters
                if connector in connectors
                for reader in self._pipelines.values()
                # A durable connector gives the signal that it was given; others may make one of another.
                if connector in reader.receivers and (reader.signal is p.signal or not self._is_durable(connector))
            ]
            for p in self._pipelines.values()
        }
        done: set[str] = set()
        for start in following:
            self._walk(start, following, [], done)

    def _walk(
        self, pipeline: str, following: Mapping[str, list[tuple[str, str]]], trail: list[str], done: set[str]
    ) -> None:
        if pipeline in trail:
            cycle = [*trail[trail.index(pipeline) :], pipeline]
            self._problems.error(
                ("service", "pipelines", pipeline), f"the pipelines form a cycle: {' -> '.join(cycle)}"
            )
            return
        if pipeline in done:
            return
        done.add(pipeline)
        for connector, reader in following[pipeline]:
            self._walk(reader, following, [*trail, pipeline, connector], done)

    def _unused(self) -> None:
        for kind, ids in self._classes.items():
            where = "listed in service.extensions" if kind is Kind.EXTENSIONS else "used in any pipeline"
            for component in ids:
                if (kind, component) not in self._used:
                    self._problems.warn(
                        (kind.value, component),
                        f"the {kind.word} {component!r} is defined, but not {where}",
                    )
