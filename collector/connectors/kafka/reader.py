"""Reading any position of any partition, beside the consumer group: what the tail needs again, and the journals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from collector.connectors.kafka.connection import reads_on, stop_consumer
from collector.connectors.kafka.damage import POLL_RECORDS, is_damage, read_up_to_damage
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import ConsumerRecord
    from aiokafka.structs import TopicPartition

PATIENCE_S = 5.0
STOP_WITHIN_S = 1.0


class OutOfRangeError(StorageError):
    """The topic no longer holds the position, or doesn't hold it yet."""


class UnreadableBatchError(StorageError):
    """The bytes at the position are damaged: no record can be made of them."""


class LogReader:
    """One consumer without a group, for all partitions of the process. Begins to connect with the first read.

    A partition that was read once is read ahead by one fetch, until it is forgotten.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._connecting = asyncio.Lock()
        self._reading: dict[TopicPartition, asyncio.Lock] = {}

    async def read(
        self, tp: TopicPartition, position: int, patience_s: float = PATIENCE_S
    ) -> list[ConsumerRecord[bytes, bytes]]:
        """Records from `position` on, at least one. There must be one.

        Raises `OutOfRangeError`, `UnreadableBatchError`, `StorageError`.
        """
        async with self._reading.setdefault(tp, asyncio.Lock()):
            consumer = await self._connected()
            self._place(consumer, tp, position)
            try:
                async with asyncio.timeout(patience_s):
                    records: list[ConsumerRecord[bytes, bytes]] = []
                    while not records:
                        records = await _next(consumer, tp, position)
            except asyncio.CancelledError:
                self._positions.pop(tp, None)  # some may have been read and not been given
                raise
            except OffsetOutOfRangeError:
                raise OutOfRangeError("the topic no longer holds the records to be read") from None
            except TimeoutError:
                self._positions.pop(tp, None)
                if not reads_on(consumer) and consumer is self._consumer:
                    self._positions.clear()
                    await self.stop()  # the next read makes another
                raise StorageError("Kafka doesn't give the records") from None
            except Exception as error:
                self._positions.pop(tp, None)
                if is_damage(error):
                    raise UnreadableBatchError("the records are damaged") from None
                if isinstance(error, KafkaError | ConsumerStoppedError | OSError):
                    raise StorageError(f"Kafka doesn't give the records ({type(error).__name__})") from None
                raise
            self._positions[tp] = records[-1].offset + 1
            return records

    async def range(self, tp: TopicPartition, start: int, stop: int) -> list[ConsumerRecord[bytes, bytes]]:
        """Every record from `start` to before `stop`; a compacted topic may have few of them. Raises as `read`."""
        records: list[ConsumerRecord[bytes, bytes]] = []
        while start < stop:
            records += await self.read(tp, start)
            start = records[-1].offset + 1
        return [record for record in records if record.offset < stop]

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """The first offset that the topic still holds, and the one after the newest. Raises `StorageError`."""
        consumer = await self._connected()
        try:
            async with asyncio.timeout(PATIENCE_S):
                first = await consumer.beginning_offsets([tp])
                end = await consumer.end_offsets([tp])
        except (KafkaError, TimeoutError) as error:
            raise StorageError(f"Kafka doesn't say what a topic holds ({type(error).__name__})") from None
        return first[tp], end[tp]

    def forget(self, tp: TopicPartition) -> None:
        """`tp` isn't read again soon."""
        if self._positions.pop(tp, None) is not None and self._consumer is not None:
            self._assign(self._consumer)

    async def stop(self) -> None:
        """Close the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer, STOP_WITHIN_S)

    async def _connected(self) -> AIOKafkaConsumer:
        async with self._connecting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(**self._arguments, group_id=None, auto_offset_reset="none")
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await consumer.start()
                except BaseException as error:
                    await stop_consumer(consumer, STOP_WITHIN_S)
                    if isinstance(error, KafkaError | TimeoutError | OSError):
                        raise StorageError("no connection to Kafka") from None
                    raise
                self._consumer = consumer
            return self._consumer

    def _place(self, consumer: AIOKafkaConsumer, tp: TopicPartition, position: int) -> None:
        at = self._positions.get(tp)
        if at == position:
            return
        self._positions[tp] = position
        if at is None:
            self._assign(consumer)
        else:
            consumer.seek(tp, position)

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        # An assignment replaces the one before together with all of its positions.
        consumer.assign(list(self._positions))
        for tp, position in self._positions.items():
            consumer.seek(tp, position)


async def _next(consumer: AIOKafkaConsumer, tp: TopicPartition, position: int) -> list[ConsumerRecord[bytes, bytes]]:
    try:
        found = await consumer.getmany(tp, timeout_ms=1000, max_records=POLL_RECORDS)
    except Exception as error:
        if not is_damage(error):
            raise
        records, damaged = await read_up_to_damage(consumer, tp, position)
        if damaged and not records:
            raise
        return records
    return list(found.get(tp, ()))
