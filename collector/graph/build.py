"""From a checked configuration to the parts of a graph. Nothing is opened here; `Graph.start` does that."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from collector.ack import Ack
from collector.batch import Batch
from collector.component.base import BuildContext, Extension
from collector.component.connector import DurableConnector
from collector.component.deriving import DerivingConnector
from collector.component.kind import Kind
from collector.component.processor import Lookahead, Processor
from collector.export_queue.queue import ExportQueue
from collector.graph.admission import Admission
from collector.graph.direct import DirectPipeline
from collector.graph.graph import Parts
from collector.graph.head import show_verdicts
from collector.graph.intake import PipelineIntake
from collector.graph.log_pipeline import LogPipeline
from collector.graph.memory_log import MemoryLog
from collector.graph.outlet import LogSink, Outlet, Sink
from collector.graph.runner import PartitionRunner

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from collector.batch import Signal
    from collector.component.deriving import Emit
    from collector.component.exporter import Exporter
    from collector.component.receiver import Receiver
    from collector.config.model import ComponentSpec, GatewayConfig, PipelineSpec
    from collector.export_queue.dead_letter import DeadLetter
    from collector.telemetry.ledger import Account, Ledger
    from collector.telemetry.meter import Meter

FLUSH_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the service owns and every part shares."""

    loop: asyncio.AbstractEventLoop
    ledger: Ledger
    meter: Meter
    dead_letter: DeadLetter
    data_dir: Path
    inflight_limit: int
    resident_bytes: Callable[[], int]
    fatal: Callable[[str], None]


class Builder:
    """Builds the pipelines that `config` selects. One use."""

    def __init__(self, config: GatewayConfig, around: Surroundings) -> None:
        self._config = config
        self._around = around
        self._parts = Parts(Admission(around.inflight_limit))
        self._parts.board.followed = any(
            spec.cls.goes_by_verdicts(spec.config) for line in config.pipelines.values() for spec in config.parts(line)
        )

    def build(self) -> Parts:
        """The parts, wired, not started."""
        config, parts = self._config, self._parts
        for id_ in config.service.extensions:
            parts.extensions[id_] = cast("Extension", self._make(config.extensions[id_]))
        for pipeline in config.pipelines.values():
            self._outputs(pipeline)
        for pipeline in config.pipelines.values():
            self._inputs(pipeline)
        for id_ in dict.fromkeys(id_ for line in config.pipelines.values() for id_ in line.receivers):
            if id_ in config.receivers:
                self._receiver(id_)
        if parts.board.followed:
            self._feeds()
        return parts

    def _make(self, spec: ComponentSpec) -> Any:
        around = self._around
        context = BuildContext(
            id=spec.id,
            log=logging.getLogger(f"butterfly.{spec.id}"),
            meter=around.meter,
            data_dir=around.data_dir,
            resident_bytes=around.resident_bytes,
            signals=frozenset(line.signal for line in self._config.pipelines.values() if _names(line, spec.id)),
            board=self._parts.board,
            readers=self._config.readers.get(spec.id) if spec.kind is Kind.CONNECTORS else None,
        )
        return spec.cls(spec.config, context)

    def _outputs(self, pipeline: PipelineSpec) -> None:
        for id_ in pipeline.exporters:
            if id_ in self._config.connectors:
                self._connector(id_)
            elif id_ not in self._parts.queues:
                exporter = cast("Exporter", self._make(self._config.exporters[id_]))
                self._parts.queues[id_] = ExportQueue(
                    exporter,
                    self._around.dead_letter,
                    self._around.meter,
                    durable=self._is_durable(id_),
                    log=logging.getLogger(f"butterfly.{id_}"),
                )

    def _connector(self, id_: str) -> None:
        spec = self._config.connectors[id_]
        made: dict[str, Any] = self._parts.connectors
        if issubclass(spec.cls, DerivingConnector):
            made = self._parts.deriving
        if id_ not in made:
            made[id_] = self._make(spec)

    def _feeds(self) -> None:
        """What samplers decide in other processes: those of this file that run elsewhere, and those that run here too,
        of whose partitions others may have some."""
        for sampler in self._config.samplers:
            for spec in sampler.shared:
                connector = self._parts.connectors.get(spec.id) or cast("DurableConnector", self._make(spec))
                (reader,) = (each for each in self._config.readers[spec.id] if each.id == sampler.pipeline)
                feed = connector.verdict_feed(reader, partial(show_verdicts, self._parts.board, sampler.cls))
                if feed is not None:
                    self._parts.feeds[f"{spec.id} ({sampler.pipeline})"] = feed

    def _inputs(self, pipeline: PipelineSpec) -> None:
        account = self._around.ledger.account(pipeline.id)
        if self._reads_log(pipeline):
            for id_ in pipeline.receivers:
                self._reader(pipeline, id_, account)
            return
        processors = self._chain(pipeline, pipeline.id, durable=False)
        lookahead = next((n for n, each in enumerate(processors) if isinstance(each, Lookahead)), None)
        if lookahead is None:
            outlet = Outlet(account, self._sinks(pipeline), from_log=False)
            self._parts.direct[pipeline.id] = DirectPipeline(pipeline.id, processors, outlet, account)
        else:
            self._in_memory(pipeline, processors, lookahead, account)

    def _reader(self, pipeline: PipelineSpec, connector: str, account: Account) -> None:
        self._connector(connector)
        listener = LogPipeline(
            pipeline.id,
            lambda partition: self._chain(pipeline, f"{pipeline.id}/{partition}", durable=True),
            lambda: Outlet(account, self._sinks(pipeline), from_log=True),
            account,
            self._around.dead_letter,
            signal=pipeline.signal,
            fatal=self._around.fatal,
            flush_patience_s=FLUSH_PATIENCE_S,
            board=self._parts.board,
        )
        self._parts.listeners.setdefault(connector, []).append(listener)

    def _in_memory(self, pipeline: PipelineSpec, processors: list[Processor], lookahead: int, account: Account) -> None:
        """Receivers feed a lookahead processor: what stands before it runs once, on the way into a log in memory."""
        memory = MemoryLog(pipeline.id, self._config.service.lookahead_memory, account)
        self._parts.direct[pipeline.id] = DirectPipeline(pipeline.id, processors[:lookahead], memory, account)
        self._parts.memory[pipeline.id] = PartitionRunner(
            memory,
            processors[lookahead:],
            Outlet(account, self._sinks(pipeline), from_log=True),
            account,
            self._around.dead_letter,
            fatal=self._around.fatal,
            board=self._parts.board,
            books_accepted=False,
            final=True,
        )

    def _receiver(self, id_: str) -> None:
        fed = [line for line in self._config.pipelines.values() if id_ in line.receivers]
        intakes = {}
        for signal in {line.signal for line in fed}:
            direct = [self._parts.direct[line.id] for line in fed if line.signal is signal]
            intakes[signal] = PipelineIntake(self._around.loop, self._parts.admission, signal, direct)
        receiver = cast("Receiver", self._make(self._config.receivers[id_]))
        self._parts.receivers[id_] = (receiver, intakes)

    def _chain(self, pipeline: PipelineSpec, name: str, *, durable: bool) -> list[Processor]:
        """The pipeline's processors, and behind them the stages of connectors that make something of what passes."""
        processors = [cast("Processor", self._make(self._config.processors[id_])) for id_ in pipeline.processors]
        for id_ in pipeline.exporters:
            connector = self._parts.deriving.get(id_)
            if connector is not None:
                emit = self._emit(id_, connector.target)
                processors.append(connector.stage(name, emit, durable=durable))
        return processors

    def _emit(self, connector: str, signal: Signal) -> Emit:
        """Into the pipelines that the connector feeds, which may be built after this."""
        fed = [line.id for line in self._config.pipelines.values() if connector in line.receivers]

        def emit(payload: bytes, count: int) -> None:
            for id_ in fed:
                self._parts.direct[id_].accept(Batch(payload, Ack.ignore(), signal=signal, count=count))

        return emit if fed else _nowhere

    def _sinks(self, pipeline: PipelineSpec) -> list[Sink]:
        parts = self._parts
        return [
            LogSink(parts.connectors[id_], self._around.dead_letter, pipeline.id)
            if id_ in parts.connectors
            else parts.queues[id_]
            for id_ in pipeline.exporters
            if id_ not in parts.deriving
        ]

    def _is_durable(self, exporter: str) -> bool:
        """Whether everything that this exporter is sent stays in a log until it is delivered."""
        return all(self._reads_log(line) for line in self._config.pipelines.values() if exporter in line.exporters)

    def _reads_log(self, pipeline: PipelineSpec) -> bool:
        connectors = self._config.connectors
        return any(
            id_ in connectors and issubclass(connectors[id_].cls, DurableConnector) for id_ in pipeline.receivers
        )


def _nowhere(payload: bytes, count: int) -> None:
    """No pipeline of this process reads what is made."""
    del payload, count


def _names(pipeline: PipelineSpec, id_: str) -> bool:
    return id_ in (*pipeline.receivers, *pipeline.processors, *pipeline.exporters)
