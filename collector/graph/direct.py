"""A pipeline fed by receivers: processors, then exporters and connectors, all in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from collector.component.processor import Admitting
from collector.graph.chain import Chain, give_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collector.batch import Batch
    from collector.component.processor import Processor
    from collector.telemetry.ledger import Account


class End(Protocol):
    """Where a batch leaves the pipeline: an `Outlet`, or a `MemoryLog` in front of a lookahead processor."""

    def emit(self, batch: Batch) -> None: ...


class DirectPipeline:
    """Runs every batch through the chain as it comes. All on the event loop's thread."""

    def __init__(self, id_: str, processors: Sequence[Processor], outlet: End, account: Account) -> None:
        self.id = id_
        self.account = account
        self.processors = tuple(processors)
        self.guards = tuple(processor for processor in processors if isinstance(processor, Admitting))
        self._chain = Chain(processors, give_back(account))
        self._outlet = outlet

    def accept(self, batch: Batch) -> None:
        """Take a batch over from a receiver."""
        self.account.accept(len(batch))
        batch.account = self.account
        self._emit(self._chain.push(batch))

    def tick(self, now_ns: int) -> None:
        """About ten times a second."""
        self._emit(self._chain.tick(now_ns))

    def drain(self) -> None:
        """Send on everything that a processor holds. The receivers have stopped."""
        self._emit(self._chain.drain())

    def _emit(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._outlet.emit(batch)
