"""One partition of the decisions topic as a `JournalLog`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord
    from aiokafka.structs import TopicPartition

    from collector.connectors.kafka.producer import Producer
    from collector.connectors.kafka.reader import LogReader
    from collector.connectors.kafka.records import Headers


class TopicLog:
    """Appends through the process's producer, reads through its reader."""

    def __init__(self, tp: TopicPartition, producer: Producer, reader: LogReader) -> None:
        self._tp = tp
        self._producer = producer
        self._reader = reader

    async def append(self, key: bytes, value: bytes | None, headers: Headers) -> int:
        """See `JournalLog`."""
        (written,) = await self._producer.send(self._tp.topic, [(self._tp.partition, key, value)], headers)
        return int(written.offset)

    async def begin(self) -> int:
        """See `JournalLog`."""
        first, _ = await self._reader.bounds(self._tp)
        return first

    async def read(self, start: int, stop: int) -> Sequence[ConsumerRecord[bytes, bytes]]:
        """See `JournalLog`."""
        records = await self._reader.range(self._tp, start, stop)
        self._reader.forget(self._tp)
        return records
