"""The service: one configuration running, from the first exporter's start to the last one's stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from collector.admin.graph_exposition import GraphExposition
from collector.admin.server import AdminServer
from collector.errors import ButterflyError
from collector.export_queue.dead_letter import DeadLetter
from collector.graph.build import Builder, Surroundings
from collector.graph.graph import Graph
from collector.telemetry.exposition import LedgerExposition, resident_bytes
from collector.telemetry.ledger import Ledger
from collector.telemetry.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.config.model import GatewayConfig

log = logging.getLogger("butterfly.service")


def _nothing() -> None:
    """Nobody wants to know."""


class Service:
    """Runs `config` until SIGTERM, SIGINT or `stop()`; SIGHUP swaps in what `reload()` returns.

    A reload checks the new file first and keeps the running configuration when it is wrong. The swap is a graceful stop
    and a start in the same process: undecided traces wait in the log, and senders are told to come back. `on_stop` is
    called when a stop is asked for, by a signal or by a pipeline that died.
    """

    def __init__(
        self,
        config: GatewayConfig,
        reload: Callable[[], GatewayConfig] | None = None,
        *,
        on_stop: Callable[[], None] = _nothing,
    ) -> None:
        self.config = config
        self.ledger = Ledger()
        self.meter = Meter()
        self.graph: Graph | None = None
        self._reload = reload
        self._on_stop = on_stop
        self._wake = asyncio.Event()
        self._stopping = False
        self._reloading = False
        self._failure: str | None = None
        self._previous: GatewayConfig | None = None

    async def run(self) -> int:
        """The process's exit code: 0 after a clean stop, 1 when a pipeline died."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._ask_reload)
        self.meter.registry.register(LedgerExposition(self.ledger))
        admin = AdminServer(self.config.service.telemetry.metrics.address, self.meter.registry)
        await admin.start()
        try:
            while not self._stopping:
                await self._run_once(admin)
        finally:
            await admin.stop()
        return 1 if self._failure else 0

    def stop(self) -> None:
        """Ask for a graceful stop."""
        if not self._stopping:
            self._stopping = True
            self._on_stop()
        self._wake.set()

    async def _run_once(self, admin: AdminServer) -> None:
        graph = await self._start()
        if graph is None:
            return
        exposition = GraphExposition(graph)
        self.meter.registry.register(exposition)
        admin.graph = self.graph = graph
        log.info("ready: %s", ", ".join(self.config.pipelines))
        # A reload that was asked for while the graph started or stopped reads the file now, which may be newer still.
        while not self._stopping and not self._swapped():
            await self._wake.wait()
            self._wake.clear()
        admin.graph = self.graph = None
        log.info("stopping")
        await graph.stop()
        self.meter.registry.unregister(exposition)

    async def _start(self) -> Graph | None:
        """The graph of the current configuration, started; None where a reloaded one can't and the old one is next."""
        try:
            self.config.service.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            graph = Graph(Builder(self.config, self._surroundings()).build())
            await graph.start()
        except Exception as error:
            if self._previous is None:
                raise
            why = error if isinstance(error, (ButterflyError, OSError)) else type(error).__name__
            log.error("the new configuration can't start, back to the one before:\n%s", why)  # noqa: TRY400 - the message says it all
            self.config, self._previous = self._previous, None
            return None
        self._previous = None
        return graph

    def _surroundings(self) -> Surroundings:
        service = self.config.service
        return Surroundings(
            loop=asyncio.get_running_loop(),
            ledger=self.ledger,
            meter=self.meter,
            dead_letter=DeadLetter(service.dead_letter.directory, service.dead_letter.max_size),
            data_dir=service.data_dir,
            inflight_limit=service.inflight_limit,
            resident_bytes=resident_bytes,
            fatal=self._fail,
        )

    def _fail(self, reason: str) -> None:
        self._failure = reason
        log.critical("stopping because of %s", reason)
        self.stop()

    def _ask_reload(self) -> None:
        self._reloading = True
        self._wake.set()

    def _swapped(self) -> bool:
        """Whether a reload was asked for and there is a new configuration to start."""
        asked, self._reloading = self._reloading, False
        if not asked or self._reload is None:
            return False
        try:
            self._previous, self.config = self.config, self._reload()
        except (ButterflyError, OSError) as error:
            log.error("reload refused, the running configuration stays:\n%s", error)  # noqa: TRY400 - the message says it all
            return False
        return True
