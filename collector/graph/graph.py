"""The running gateway: components started from the exporters back to the receivers, and stopped the other way round."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from collector.component.trace_board import TraceBoard
from collector.graph.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from collector.batch import Signal
    from collector.component.base import Extension
    from collector.component.connector import DurableConnector
    from collector.component.deriving import DerivingConnector
    from collector.component.receiver import Receiver
    from collector.component.verdict_feed import VerdictFeed
    from collector.export_queue.queue import ExportQueue
    from collector.graph.admission import Admission
    from collector.graph.direct import DirectPipeline
    from collector.graph.intake import PipelineIntake
    from collector.graph.log_pipeline import LogPipeline
    from collector.graph.runner import PartitionRunner

_Part = TypeVar("_Part")

log = logging.getLogger("butterfly.graph")

TICK_S = 0.1
STOP_WITHIN_S = 8.0
"""SIGTERM to exit is 9 s at the most; the rest is the interpreter's."""


@dataclass(slots=True)
class Parts:
    """Everything the builder made, by ID of the YAML."""

    admission: Admission
    board: TraceBoard = field(default_factory=TraceBoard)
    extensions: dict[str, Extension] = field(default_factory=dict)
    queues: dict[str, ExportQueue] = field(default_factory=dict)
    connectors: dict[str, DurableConnector] = field(default_factory=dict)
    deriving: dict[str, DerivingConnector] = field(default_factory=dict)
    listeners: dict[str, list[LogPipeline]] = field(default_factory=dict)
    """By the connector's ID: who reads it in this process."""
    feeds: dict[str, VerdictFeed] = field(default_factory=dict)
    """By the connector's ID and the sampler's pipeline: verdicts of other processes."""
    memory: dict[str, PartitionRunner] = field(default_factory=dict)
    """By the pipeline's ID: lookahead without a durable log."""
    direct: dict[str, DirectPipeline] = field(default_factory=dict)
    receivers: dict[str, tuple[Receiver, Mapping[Signal, PipelineIntake]]] = field(default_factory=dict)


class _Starting(Protocol):
    async def start(self) -> None: ...


class Graph:
    """Owns tasks, timers and time. Nothing below it reads a clock."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._tickers: list[asyncio.Task[None]] = []
        self._ticking: dict[PartitionRunner, asyncio.Task[None]] = {}
        self._started: list[object] = []

    async def start(self) -> None:
        """Exporters first, receivers last. When one can't start, what was started is stopped and the error raised."""
        parts = self.parts
        try:
            early: Iterable[_Starting] = (
                *parts.extensions.values(),
                *parts.queues.values(),
                *parts.memory.values(),
                *parts.feeds.values(),
            )
            for part in early:
                await part.start()
                self._started.append(part)
            for id_, connector in parts.connectors.items():
                await connector.start(parts.listeners.get(id_, ()))
                self._started.append(connector)
            # Two: a log whose journal is slow must not keep the memory limiter from looking.
            for tick in (self._tick_direct, self._tick_partitions):
                self._tickers.append(asyncio.get_running_loop().create_task(tick()))
            for receiver, intakes in parts.receivers.values():
                await receiver.start(intakes)
                self._started.append(receiver)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Receivers first: they answer what they took. What is undecided or undelivered stays in the logs."""
        parts, deadline = self.parts, monotonic() + STOP_WITHIN_S
        receivers = [receiver for receiver, _ in parts.receivers.values()]
        await self._all("receiver", [each.stop() for each in self._running(receivers)])
        self._each_direct(lambda pipeline: pipeline.drain())
        patience = max(0.5, (deadline - monotonic()) / 2)
        await self._all("pipeline", [each.stop(patience) for each in self._running(parts.memory.values())])
        await self._all("connector", [each.stop() for each in self._running(parts.connectors.values())])
        await self._all("verdict feed", [each.stop() for each in self._running(parts.feeds.values())])
        ticks = [*self._tickers, *self._ticking.values()]
        for tick in ticks:
            tick.cancel()
        await asyncio.gather(*ticks, return_exceptions=True)
        patience = max(0.5, deadline - monotonic())
        await self._all("exporter", [each.stop(patience) for each in self._running(parts.queues.values())])
        await self._all("extension", [each.stop() for each in self._running(parts.extensions.values())])

    def runners(self) -> Iterator[tuple[str, PartitionRunner]]:
        """Every partition that is worked through now, with the ID of what feeds it."""
        for id_, pipelines in self.parts.listeners.items():
            for pipeline in pipelines:
                for runner in pipeline.runners.values():
                    yield id_, runner
        yield from self.parts.memory.items()

    def reports(self, component: str) -> list[dict[str, Any]]:
        """What the processors with this ID in the YAML report: one of each pipeline, or partition of a log."""
        found: list[dict[str, Any]] = []
        direct = ((id_, "", each.processors) for id_, each in self.parts.direct.items())
        logs = ((id_, each.partition.name, each.processors) for id_, each in self.runners())
        for id_, partition, processors in (*direct, *logs):
            reports = (each.report() for each in processors if each.id == component)
            found.extend({"from": id_, "partition": partition, **report} for report in reports if report is not None)
        return found

    def not_ready(self) -> list[str]:
        """Why the gateway can't take work in now, for a person; empty when it can."""
        parts = self.parts
        reasons = [f"{id_}: {why}" for id_, each in parts.connectors.items() if (why := each.ready()) is not None]
        reasons += [f"{id_}: {why}" for id_, each in parts.feeds.items() if (why := each.obstacle()) is not None]
        return reasons if self._tickers else ["starting", *reasons]

    def _running(self, parts: Iterable[_Part]) -> list[_Part]:
        return [each for each in parts if each in self._started]

    def _each_direct(self, act: Callable[[DirectPipeline], None]) -> None:
        for pipeline in self.parts.direct.values():
            try:
                act(pipeline)
            except Exception as error:  # noqa: BLE001 - a processor that breaks its contract must not stop the others
                log.error("pipeline %s failed on its own time: %s", pipeline.id, type(error).__name__)  # noqa: TRY400 - a traceback may quote telemetry

    async def _all(self, kind: str, stops: list[Coroutine[None, None, None]]) -> None:
        for result in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(result, BaseException):
                log.error("a %s did not stop cleanly: %s", kind, type(result).__name__, exc_info=result)

    async def _tick_direct(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._each_direct(partial(_tick, now_ns()))

    async def _tick_partitions(self) -> None:
        started = monotonic_ns()
        while True:
            await asyncio.sleep(TICK_S)
            self.parts.board.elapsed_ns = monotonic_ns() - started
            # Each by itself: one partition's journal that is slow must not keep the others from deciding.
            for _, runner in self.runners():
                if runner not in self._ticking:
                    task = asyncio.get_running_loop().create_task(runner.tick())
                    self._ticking[runner] = task
                    task.add_done_callback(partial(self._ticked, runner))

    def _ticked(self, runner: PartitionRunner, task: asyncio.Task[None]) -> None:
        del self._ticking[runner]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a pipeline failed on its own time", exc_info=error)


def _tick(now_ns: int, pipeline: DirectPipeline) -> None:
    pipeline.tick(now_ns)
