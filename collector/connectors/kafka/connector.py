"""The `kafka` connector: the durable buffer that many processes on many machines share."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from collector.ack import Outcome
from collector.component.connector import DurableConnector, Reader
from collector.connectors.kafka import inflating
from collector.connectors.kafka.appends import Appends
from collector.connectors.kafka.connection import connection
from collector.connectors.kafka.decisions_feed import DecisionsFeed
from collector.connectors.kafka.group import Group
from collector.connectors.kafka.obstacle import obstacle, silence
from collector.connectors.kafka.options import BATCH_OVERHEAD, KafkaOptions, milliseconds, problems, warnings
from collector.connectors.kafka.producer import Producer
from collector.connectors.kafka.quarantine import Quarantine
from collector.connectors.kafka.reader import LogReader
from collector.connectors.kafka.recent import PayloadBudget
from collector.connectors.kafka.topic_plan import Gravity
from collector.connectors.kafka.topic_watch import TopicWatch
from collector.connectors.kafka.topics import check
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka.structs import RecordMetadata

    from collector.batch import Batch
    from collector.component.base import BuildContext
    from collector.component.connector import PartitionListener

START_PATIENCE_S = 3.0
"""How long a start waits for a first look at the topics; a broker that is away is no reason not to start."""
MAX_REQUEST_BYTES = 256 << 20
"""What aiokafka itself refuses to send; the topic's own limit is smaller, and the broker enforces it."""
FOR_EVER_MS = 2**31 - 1
PRODUCE_TIMEOUT_MS = 5_000
"""A leader that is frozen keeps its connection open; only after this is another one asked for."""
JOIN_MARGIN_MS = 5_000

_READY = {
    "kafka_away": "no broker answers",
    "kafka_login": "the brokers refuse the user or the password",
    "kafka_denied": "this user may not write to the topics",
    "kafka_timeout": "the brokers don't acknowledge what is written",
    "kafka_topics": "the topics are not what the configuration says",
    "kafka_error": "the brokers refuse what is written",
    "too_large": "the topics take no record of this size",
    "log_closed": "the connector is closed",
}


class KafkaConnector(DurableConnector):
    """One log in topics of Kafka, of as many processes as wanted. See docs/components/kafka.md."""

    Config = KafkaOptions
    shared = True

    @classmethod
    def problems(cls, config: KafkaOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return problems(config)

    @classmethod
    def warnings(cls, config: KafkaOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return warnings(config)

    def __init__(self, config: KafkaOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        labels = {"connector": context.id}
        refused = context.meter.counter("butterfly_log_refused_total")
        lost = context.meter.counter("butterfly_log_lost_records_total")
        quarantined = context.meter.counter("butterfly_log_quarantined_records_total")
        self._refused = lambda reason: refused.labels(reason=reason, **labels).inc()
        self._lost = lambda pipeline, count, reason: lost.labels(pipeline=pipeline, reason=reason, **labels).inc(count)
        self._quarantined = lambda pipeline, reason: quarantined.labels(
            pipeline=pipeline, reason=reason, **labels
        ).inc()
        self._took = context.meter.histogram("butterfly_log_commit_seconds").labels(**labels).observe
        self._producer: Producer | None = None
        self._appends: Appends | None = None
        self._groups: list[Group] = []
        self._watch: TopicWatch | None = None

    async def start(self, listeners: Sequence[PartitionListener]) -> None:
        """See `DurableConnector`. A broker that is away is no error; topics that differ from the configuration are.

        Raises `ConfigError` for unusable TLS files, `StorageError` for the topics.
        """
        silence()
        config, log = self.config, self.context.log
        inflating.bound(config.producer.max_message_bytes + BATCH_OVERHEAD)
        common = await asyncio.to_thread(connection, config)
        readers = [Reader(each.id, each.signal) for each in listeners]
        if self.context.readers is not None:
            readers = list(self.context.readers)
        self._watch = TopicWatch(config, self.context.signals, readers, log)
        self._producer = Producer(
            self._producer_arguments(common),
            deadline_s=config.timeout / 1e9,
            watched=self._watch.look,
            explain=partial(obstacle, common),
            log=log,
        )
        self._appends = Appends(
            config,
            self._producer,
            obstacle=self._obstacle,
            written=self._written,
            refused=self._refused,
            took=self._took,
            log=log,
        )
        self._producer.start()
        budget = PayloadBudget(config.recent_bytes)
        for listener in listeners:
            (reader,) = (each for each in readers if each.id == listener.id)
            self._groups.append(self._group(listener, reader, common, self._producer, budget))
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                await self._producer.connected.wait()
        except TimeoutError:
            log.warning("no broker answers yet; the gateway is not ready until one does")
        if self._watch.problem is not None:
            problem = self._watch.problem
            await self.stop()
            raise StorageError(problem)
        for group in self._groups:
            group.start()

    def _group(
        self,
        listener: PartitionListener,
        reader: Reader,
        common: dict[str, Any],
        producer: Producer,
        budget: PayloadBudget,
    ) -> Group:
        config, log = self.config, self.context.log.getChild(reader.name)
        quarantine = Quarantine(
            config.quarantine_topic,
            producer,
            partial(self._quarantined, reader.id),
            log,
            largest=config.producer.max_message_bytes,
        )
        return Group(
            config,
            listener,
            {**self._member_arguments(common), "group_id": config.group(reader)},
            decisions_topic=config.decisions(reader) if reader.journal else None,
            producer=producer,
            # What it reads is there: a broker that waited for more would only make a restart slower.
            reader=LogReader({**self._consumer_arguments(common), "fetch_min_bytes": 1}),
            budget=budget,
            quarantine=quarantine,
            lost_records=partial(self._lost, reader.id),
            log=log,
        )

    async def stop(self) -> None:
        """See `DurableConnector`."""
        groups, self._groups = self._groups, []
        appends, self._appends = self._appends, None
        await asyncio.gather(*(group.stop() for group in groups), *([appends.close()] if appends is not None else []))
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    def append(self, batch: Batch) -> None:
        """See `DurableConnector`."""
        if self._appends is None:
            batch.ack.resolve(Outcome.RETRY, "log_closed")
        else:
            self._appends.append(batch)

    def ready(self) -> str | None:
        """See `DurableConnector`."""
        if self._watch is not None and self._watch.problem is not None:
            return self._watch.problem
        reason = self._obstacle()
        if reason is not None:
            why = self._producer.why if self._producer is not None else ""
            return why or _READY.get(reason, reason)
        obstacles = (group.obstacle() for group in self._groups)
        return next((obstacle for obstacle in obstacles if obstacle is not None), None)

    def verdict_feed(self, reader: Reader, publish: Callable[[bytes], None]) -> DecisionsFeed:
        """See `DurableConnector`."""
        labels = {"connector": self.id, "pipeline": reader.id}
        records = self.context.meter.counter("butterfly_verdict_feed_records_total")
        behind = self.context.meter.gauge("butterfly_verdict_feed_behind_records")
        return DecisionsFeed(
            self.config.decisions(reader),
            self.config.partitions,
            publish,
            connect=partial(self._decisions_consumer, reader),
            count=lambda outcome: records.labels(outcome=outcome, **labels).inc(),
            behind=behind.labels(**labels).set,
            log=self.context.log.getChild(reader.name),
        )

    async def _decisions_consumer(self, reader: Reader) -> AIOKafkaConsumer:
        """Raises `StorageError` while the topic isn't what it should be: asking for a missing one may create it."""
        silence()
        config = self.config
        inflating.bound(config.producer.max_message_bytes + BATCH_OVERHEAD)
        common = await asyncio.to_thread(connection, config)
        found = await check(config, {reader.signal}, [reader])
        fatal = [each for each in found if each.topic == config.decisions(reader) and each.gravity is Gravity.FATAL]
        if fatal:
            raise StorageError("; ".join(map(str, fatal)))
        return AIOKafkaConsumer(**self._consumer_arguments(common), group_id=None, auto_offset_reset="none")

    def _obstacle(self) -> str | None:
        if self._producer is None or self._watch is None:
            return "log_closed"
        return "kafka_topics" if self._watch.problem is not None else self._producer.obstacle()

    def _written(self, topic: str, metadata: Sequence[RecordMetadata]) -> None:
        """What this process appended to a partition that it also reads is there before any fetch says so."""
        for each in metadata:
            for group in self._groups:
                partition = group.partitions.get(TopicPartition(topic, each.partition))
                if partition is not None and each.offset >= 0:
                    partition.grown(each.offset + 1)

    # -- what aiokafka is told

    def _producer_arguments(self, common: dict[str, Any]) -> dict[str, Any]:
        options = self.config.producer
        return {
            **common,
            "request_timeout_ms": PRODUCE_TIMEOUT_MS,
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": None if options.compression == "none" else options.compression,
            "linger_ms": 0,  # what waits for company waits in front of the splitter, where it can still be merged
            "max_batch_size": options.max_message_bytes,
            "max_request_size": MAX_REQUEST_BYTES,
        }

    def _consumer_arguments(self, common: dict[str, Any]) -> dict[str, Any]:
        config = self.config
        return {
            **common,
            "enable_auto_commit": False,
            "fetch_min_bytes": config.min_fetch_size,
            "max_partition_fetch_bytes": config.default_fetch_size,
            "fetch_max_bytes": config.fetch_bytes,
            "fetch_max_wait_ms": milliseconds(config.max_fetch_wait),
        }

    def _member_arguments(self, common: dict[str, Any]) -> dict[str, Any]:
        config = self.config
        return {
            **self._consumer_arguments(common),
            # The answer to a join comes when every member has let go: longer than any other may take.
            "request_timeout_ms": milliseconds(config.rebalance_timeout) + JOIN_MARGIN_MS,
            "group_instance_id": config.group_instance_id or None,
            "auto_offset_reset": "none",
            "session_timeout_ms": milliseconds(config.session_timeout),
            "heartbeat_interval_ms": milliseconds(config.heartbeat_interval),
            "rebalance_timeout_ms": milliseconds(config.rebalance_timeout),
            # A member that waits for a backend is alive, and its partitions would wait for the same backend elsewhere.
            "max_poll_interval_ms": FOR_EVER_MS,
            "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
        }
