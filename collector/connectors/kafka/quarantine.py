"""Where records go that are no telemetry: a topic of its own, with the bytes as they were and where they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from aiokafka import ConsumerRecord

    from collector.connectors.kafka.producer import Producer


class Quarantine:
    """Writes to partition 0 of the quarantine topic. The key names the record, so that copies can be recognised."""

    def __init__(self, topic: str, producer: Producer, quarantined: Callable[[str], None], log: Logger) -> None:
        self._topic = topic
        self._producer = producer
        self._quarantined = quarantined
        self._log = log

    async def put(self, record: ConsumerRecord[bytes, bytes], reason: str) -> None:
        """Put `record` aside, durably. Raises `StorageError`: then it is tried again."""
        key = f"{record.topic}/{record.partition}/{record.offset}".encode()
        about = [("butterfly-reason", reason.encode()), *((name, value or b"") for name, value in record.headers)]
        await self._producer.send(self._topic, [(0, key, record.value)], about)
        self._quarantined(reason)
        self._log.error(
            "the record at %s/%d, offset %d, is no telemetry (%s): it is in the quarantine topic",
            record.topic,
            record.partition,
            record.offset,
            reason,
        )
