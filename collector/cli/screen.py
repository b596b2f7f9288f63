"""The live screen of `butterfly run`: what comes in, what is kept and why, what waits."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collector.ack import leaked
from collector.telemetry.exposition import resident_bytes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from collector.service import Service
    from collector.telemetry.ledger import Account

log = logging.getLogger("butterfly.status")

REFRESH_S = 0.5
LINE_EVERY_S = 10.0


class Screen:
    """Draws the state of a running service; on something that is no terminal, a line now and then."""

    def __init__(self, service: Service, console: Console | None, title: str) -> None:
        self._service = service
        self._console = console
        self._title = title
        self._before: dict[str, tuple[float, int]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        if self._console is None:
            while True:
                await asyncio.sleep(LINE_EVERY_S)
                log.info("%s", self.line())
        with Live(self.draw(), console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(self.draw(), refresh=True)

    def line(self) -> str:
        """The state in one line."""
        parts = [_books(account) for account in self._service.ledger.accounts.values()]
        return "; ".join([*parts, f"rss {resident_bytes() / 2**20:.0f} MiB"])

    def draw(self) -> RenderableType:
        """The state as a table a question."""
        graph = self._service.graph
        head = Text.assemble(
            ("Butterfly Collector  ", "bold"),
            (self._title, "dim"),
            f"   memory {resident_bytes() / 2**20:.0f} MiB",
            ("" if not leaked() else f"   LEAKED ACKS {leaked()}", "bold red"),
        )
        if graph is None:
            return Group(head, Text("starting", style="dim"))
        reasons = graph.not_ready()
        state = (
            Text(f"not ready: {'; '.join(reasons)}", style="bold yellow") if reasons else Text("ready", style="green")
        )
        tables = (self._pipelines(), self._policies(), self._logs(), self._queues())
        return Group(head, state, *(part for table in tables if table.row_count for part in (Text(), table)))

    def _pipelines(self) -> Table:
        table = _table("pipeline", "in/s", "in", "delivered", "filtered", "returned", "dead-lettered", "held")
        for a in self._service.ledger.accounts.values():
            table.add_row(
                a.pipeline,
                f"{self._rate(a.pipeline, a.accepted):,.0f}",
                *(
                    f"{value:,}"
                    for value in (
                        a.accepted,
                        a.delivered,
                        a.filtered.total(),
                        a.returned.total(),
                        a.dead_lettered.total(),
                        a.held,
                    )
                ),
            )
        return table

    def _policies(self) -> Table:
        table = _table("traces by policy", "kept", "dropped")
        counts: dict[str, Counter[str]] = {}
        for family in self._service.meter.counter("butterfly_sampling_traces_total").collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    by_decision = counts.setdefault(sample.labels["policy"], Counter())
                    by_decision[sample.labels["decision"]] += int(sample.value)
        for policy, by_decision in counts.items():
            kept = by_decision["sampled"]
            table.add_row(policy, f"{kept:,}", f"{by_decision.total() - kept:,}")
        return table

    def _logs(self) -> Table:
        table = _table("log", "read by", "records", "waiting to be decided", "to be settled", "lag")
        graph = self._service.graph
        for id_, runner in graph.runners() if graph is not None else ():
            end, tail, settled = runner.partition.end, runner.tail.position, runner.tail.watermark.position
            waiting = f"{end - tail:,}", f"{tail - settled:,}", f"{runner.lag_seconds():.1f} s"
            table.add_row(id_, runner.account.pipeline, f"{end:,}", *waiting)
        return table

    def _queues(self) -> Table:
        table = _table("exporter", "queued items", "queued KiB", "state")
        for id_, queue in self._service.graph.parts.queues.items() if self._service.graph is not None else ():
            table.add_row(id_, f"{queue.items:,}", f"{queue.bytes / 1024:,.0f}", queue.healthy() or "delivering")
        return table

    def _rate(self, key: str, value: int) -> float:
        """Per second, over at least a second."""
        now = monotonic()
        then, earlier = self._before.get(key, (now - REFRESH_S, 0))
        if now - then >= 1.0 or key not in self._before:
            self._before[key] = (now, value)
        return (value - earlier) / max(now - then, REFRESH_S)


def _books(account: Account) -> str:
    """An account in words that add up; what should never be anything is told where it is something."""
    rare = {
        "returned": account.returned.total(),
        "dead-lettered": account.dead_lettered.total(),
        "lost": account.lost.total(),
    }
    told = "".join(f" {what} {items:,}" for what, items in rare.items() if items)
    filtered = account.filtered.total()
    return (
        f"{account.pipeline}: in {account.accepted:,} out {account.delivered:,} filtered {filtered:,}{told}"
        f" held {account.held:,}"
    )


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, expand=False, header_style="dim", padding=(0, 2))
    table.add_column(first, min_width=26)
    for column in columns:
        table.add_column(column, justify="right", min_width=10)
    return table
