"""Where records go that are no telemetry: a topic of its own, with the bytes as they were and where they came from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from aiokafka import ConsumerRecord

    from collector.connectors.kafka.producer import Producer


PAUSE_S = 5.0
"""After a failure, which costs the producer that the senders' records go through too."""
HEADERS_BYTES = 8 << 10


class Quarantine:
    """Writes to partition 0 of the quarantine topic. The key names the record, so that copies can be recognised.

    What a stranger compressed may be larger than what the topic takes of us: then its first `largest` bytes are kept.
    """

    def __init__(
        self,
        topic: str,
        producer: Producer,
        quarantined: Callable[[str], None],
        log: Logger,
        *,
        largest: int = 1_000_000,
    ) -> None:
        self._topic = topic
        self._producer = producer
        self._quarantined = quarantined
        self._log = log
        self._largest = largest
        self._not_before = 0.0

    async def put(self, record: ConsumerRecord[bytes, bytes], reason: str) -> None:
        """Put `record` aside, durably. Raises `StorageError`: then it is tried again."""
        key = f"{record.topic}/{record.partition}/{record.offset}".encode()
        about = [("butterfly-reason", reason.encode())]
        value = record.value
        if value is not None and len(value) > self._largest:
            about.append(("butterfly-size", b"%d" % len(value)))
            value = value[: self._largest]
        if sum(len(name.encode()) + len(given or b"") for name, given in record.headers) <= HEADERS_BYTES:
            about += [(name, given or b"") for name, given in record.headers]
        now = asyncio.get_running_loop().time
        if now() < self._not_before:
            raise StorageError("the quarantine topic takes no records")
        try:
            await self._producer.send(self._topic, [(0, key, value)], about)
        except StorageError:
            self._not_before = now() + PAUSE_S
            raise
        self._quarantined(reason)
        self._log.error(
            "the record at %s/%d, offset %d, is no telemetry (%s): it is in the quarantine topic",
            record.topic,
            record.partition,
            record.offset,
            reason,
        )
