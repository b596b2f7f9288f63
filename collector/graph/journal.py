"""The journal of a partition as its two writers see it: the head's verdicts, and states of the tail's processors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from collector.graph.states import is_state

if TYPE_CHECKING:
    from collector.component.connector import Partition


class SharedJournal:
    """Writes one entry at a time, whoever comes, and tells verdicts from states."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._writing = asyncio.Lock()

    async def append(self, blob: bytes, count: int, head: int, keep: int) -> None:
        """As `Partition.journal`."""
        async with self._writing:
            await self._partition.journal(blob, count, head, keep)

    async def verdicts(self) -> list[bytes]:
        """Those of earlier lives, oldest first. Raises as `Partition.load_journal`."""
        return [blob for blob in await self._partition.load_journal() if not is_state(blob)]

    async def states(self) -> list[bytes]:
        """The parts of states, oldest first. Raises as `Partition.load_journal`."""
        return [blob for blob in await self._partition.load_journal() if is_state(blob)]
