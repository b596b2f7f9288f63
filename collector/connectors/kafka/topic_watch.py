"""Whether the topics are what the configuration says, looked at again and again while the gateway runs.

The partition count decides which sampler sees a trace. Where it changes under us, nothing more is written: records
under the new count would meet another sampler than the rest of their trace.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from collector.connectors.kafka.topic_plan import Gravity, plan
from collector.connectors.kafka.topics import check
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Collection
    from logging import Logger

    from aiokafka import AIOKafkaProducer

    from collector.batch import Signal
    from collector.component.connector import Reader
    from collector.connectors.kafka.options import KafkaOptions

CHECK_S = 60.0
CHECK_AGAIN_S = 5.0
"""While something is wrong: whoever mends it wants to see that it is mended."""


class TopicWatch:
    """`problem` says what must be mended before anything is written; None when nothing is known to be wrong."""

    def __init__(
        self, config: KafkaOptions, signals: Collection[Signal], readers: Collection[Reader], log: Logger
    ) -> None:
        self._config = config
        self._signals = signals
        self._readers = readers
        self._log = log
        self._pinned = [each for each in plan(config, signals, readers) if each.pinned]
        self._told: set[str] = set()
        self._next = 0.0
        self._checked = False
        self.problem: str | None = None

    async def look(self, producer: AIOKafkaProducer) -> None:
        """Compare partition counts, with every call; settings, once a minute. Raises `StorageError` the first time."""
        if asyncio.get_running_loop().time() >= self._next:
            await self._check()
        if self.problem is None:
            await self._count(producer)

    async def _check(self) -> None:
        try:
            differences = await check(self._config, self._signals, self._readers)
        except StorageError:
            if not self._checked:
                raise
            return  # the brokers are busy or away, which shows elsewhere
        self._checked = True
        fatal = [str(each) for each in differences if each.gravity is Gravity.FATAL]
        for each in differences:
            if each.gravity is not Gravity.FATAL and str(each) not in self._told:
                self._told.add(str(each))
                self._log.warning("%s", each)
        self._tell("; ".join(fatal) or None)
        self._next = asyncio.get_running_loop().time() + (CHECK_AGAIN_S if fatal else CHECK_S)

    async def _count(self, producer: AIOKafkaProducer) -> None:
        # Only topics that `check` has seen are asked for: asking for one that is missing may create it.
        client = producer.client
        await asyncio.gather(*(client.add_topic(each.name) for each in self._pinned))
        for each in self._pinned:
            found = client.cluster.partitions_for_topic(each.name)
            if found is None:
                self._next = 0.0  # it may have been deleted; `check` asks without making it
            elif len(found) != each.partitions:
                self._tell("; ".join(str(wrong) for wrong in each.shape_differences(len(found), 2**31)))
                self._next = 0.0

    def _tell(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            self._log.error("%s", problem)
        elif problem is None and self.problem is not None:
            self._log.warning("the topics are as configured again")
        self.problem = problem
