"""Stepping over what the topic can't give any more, so that one gap doesn't end the reading of all partitions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError

from collector.connectors.kafka.damage import end_of_batch, read_up_to_damage
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from logging import Logger

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from collector.connectors.kafka.ownership import Ownership
    from collector.connectors.kafka.partition import KafkaPartition
    from collector.connectors.kafka.reader import LogReader

RETRY_S = 1.0


class Gaps:
    """Of the partitions that `owned` has. What is missing is counted there, once."""

    def __init__(self, owned: Ownership, reader: LogReader, log: Logger) -> None:
        self._owned = owned
        self._reader = reader
        self._log = log

    async def reposition(self, consumer: AIOKafkaConsumer, error: Exception) -> None:
        """The topic no longer holds what comes next: go on where it begins, and count what is missing."""
        offsets = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for tp in offsets:
            partition = self._owned.partitions.get(tp)
            if partition is None:
                continue  # it is being taken over, and will be positioned
            try:
                first, end = await self._reader.bounds(tp)
            except StorageError:
                if not self._replaced(consumer, tp, partition):
                    consumer.seek(tp, partition.fetched)  # so that it is tried again
                await asyncio.sleep(RETRY_S)
                continue
            if self._replaced(consumer, tp, partition):
                continue
            if first > partition.fetched:
                partition.skip(first, "retention")
            elif partition.fetched > end:
                self._log.error("partition %s: the topic ends before what was read of it", partition.name)
                self._owned.retake(partition)
                continue
            consumer.seek(tp, partition.fetched)

    async def pass_damage(self, consumer: AIOKafkaConsumer, wanted: Sequence[TopicPartition]) -> None:
        """Some partition's next batch can't be read: step over it, and read again what was dropped with it."""
        for tp in wanted:
            partition = self._owned.partitions.get(tp)
            if partition is None:
                continue
            unreadable, damaged = partition.fetched, True
            try:
                while damaged:
                    records, damaged = await read_up_to_damage(consumer, tp, unreadable)
                    if self._replaced(consumer, tp, partition):
                        break
                    if records or not damaged:
                        partition.skip(unreadable, "damaged")
                        partition.received(records)
                        unreadable = partition.fetched
                    if damaged:
                        unreadable = await end_of_batch(consumer, tp, unreadable)
                        if self._replaced(consumer, tp, partition):
                            break
            except (IllegalStateError, OffsetOutOfRangeError, NoOffsetForPartitionError):
                continue  # it comes again with the next fetch, if the partition is still ours

    def _replaced(self, consumer: AIOKafkaConsumer, tp: TopicPartition, partition: KafkaPartition) -> bool:
        """Whether `tp` was taken over anew while something about `partition` was waited for.

        Then what was read meanwhile was the new life's, and it reads on from where it is.
        """
        current = self._owned.partitions.get(tp)
        if current is partition:
            return False
        if current is not None and tp in consumer.assignment():
            consumer.seek(tp, current.fetched)
        return True
