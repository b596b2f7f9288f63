"""Whether the topics are what the configuration says, looked at again and again while the gateway runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from logging import Logger

    from aiokafka import AIOKafkaProducer

    from collector.connectors.kafka.options import KafkaOptions


class TopicWatch:
    def __init__(self, config: KafkaOptions, arguments: Mapping[str, Any], *, log: Logger) -> None:
        self._config = config
        self._arguments = arguments
        self._log = log
        self.problem: str | None = None

    async def look(self, producer: AIOKafkaProducer) -> None:
        for topic in (self._config.traces.topic, self._config.decisions_topic):
            found = await producer.partitions_for(topic)
            if len(found) != self._config.partitions:
                self.problem = f"topic {topic} has {len(found)} partitions, not {self._config.partitions}"
                return
        self.problem = None
