"""A pipeline fed by logs: one runner, with processors of its own, for each partition that is this process's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.graph.runner import PartitionRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from collector.batch import Signal
    from collector.component.connector import Partition
    from collector.component.processor import Processor
    from collector.component.trace_board import TraceBoard
    from collector.export_queue.dead_letter import DeadLetter
    from collector.graph.outlet import Outlet
    from collector.telemetry.ledger import Account


class LogPipeline:
    """A `PartitionListener`. `make_processors` builds a fresh chain for the partition of that name: state belongs to it
    and goes with it."""

    def __init__(
        self,
        id_: str,
        make_processors: Callable[[str], Sequence[Processor]],
        make_outlet: Callable[[], Outlet],
        account: Account,
        dead_letter: DeadLetter,
        *,
        signal: Signal,
        fatal: Callable[[str], None],
        flush_patience_s: float,
        board: TraceBoard | None = None,
    ) -> None:
        self.id = id_
        self.signal = signal
        self.account = account
        self.runners: dict[Partition, PartitionRunner] = {}
        self._make_processors = make_processors
        self._make_outlet = make_outlet
        self._dead_letter = dead_letter
        self._fatal = fatal
        self._flush_patience_s = flush_patience_s
        self._board = board

    async def assigned(self, partition: Partition) -> None:
        """Begin to work through `partition` from its committed position."""
        runner = PartitionRunner(
            partition,
            self._make_processors(partition.name),
            self._make_outlet(),
            self.account,
            self._dead_letter,
            fatal=self._fatal,
            board=self._board,
        )
        await runner.start()
        self.runners[partition] = runner

    async def revoked(self, partition: Partition) -> None:
        """Flush and commit within a bounded time, then forget the partition."""
        runner = self.runners.pop(partition, None)
        if runner is not None:
            await runner.stop(self._flush_patience_s)
