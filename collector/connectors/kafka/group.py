"""Membership in the consumer group of one reader: joined again and again, polled for all of its partitions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from collector.connectors.kafka.connection import reads_on, stop_consumer
from collector.connectors.kafka.damage import POLL_MS, POLL_RECORDS, is_damage
from collector.connectors.kafka.gaps import Gaps
from collector.connectors.kafka.ownership import Ownership
from collector.errors import OwnershipLostError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from logging import Logger

    from aiokafka import ConsumerRecord, TopicPartition

    from collector.component.connector import PartitionListener
    from collector.connectors.kafka.options import KafkaOptions
    from collector.connectors.kafka.partition import KafkaPartition
    from collector.connectors.kafka.producer import Producer
    from collector.connectors.kafka.quarantine import Quarantine
    from collector.connectors.kafka.reader import LogReader
    from collector.connectors.kafka.recent import PayloadBudget

RETRY_S = 1.0
COMMIT_WITHIN_S = 5.0
STOP_WITHIN_S = 4.0
LEAVE_WITHIN_S = 1.0
"""A group that isn't told of a leaving member notices when the session ends."""
QUIET_S = 0.02

_GONE = {
    "retention": "lost: the topic's retention ran over them before they were settled",
    "damaged": "damaged, and lost",
}


class Group(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka's class has no types
    """Joins the group, polls, commits, and passes on what it is assigned. A `Member` for its `Ownership`."""

    def __init__(
        self,
        config: KafkaOptions,
        listener: PartitionListener,
        arguments: Mapping[str, Any],
        *,
        decisions_topic: str | None,
        producer: Producer,
        reader: LogReader,
        budget: PayloadBudget,
        quarantine: Quarantine,
        lost_records: Callable[[int, str], None],
        log: Logger,
    ) -> None:
        """`decisions_topic` as for `Ownership`. `reader` is stopped with the group."""
        self._arguments = arguments
        self._reader = reader
        self._quarantine = quarantine
        self.count_lost = lost_records
        self._log = log
        self._topic = config.topic(listener.signal)
        self._owned = Ownership(
            config,
            listener,
            self,
            decisions_topic=decisions_topic,
            producer=producer,
            reader=reader,
            budget=budget,
            log=log,
        )
        self._gaps = Gaps(self._owned, reader, log)
        self.consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving = False
        self._obstacle: str | None = "the consumer group is being joined"
        self._denied_until: float | None = None  # the brokers say that something is forbidden, never that it isn't

    @property
    def partitions(self) -> Mapping[TopicPartition, KafkaPartition]:
        """Those that this process works through now."""
        return self._owned.partitions

    def start(self) -> None:
        """Join in the background, and stay in."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Give every partition back to the graph, commit, leave; without the rest when a broker that is away takes
        too long for a graceful stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._leave()
        await self._reader.stop()

    def obstacle(self) -> str | None:
        """Why nothing is read, for a person; None while the group works (a member may have no partition)."""
        return self._obstacle

    # -- polling

    async def _run(self) -> None:
        while True:
            try:
                await self._join()
                while True:
                    await self._poll()
            except Exception as error:  # noqa: BLE001 - what answers may be no Kafka, and aiokafka make anything of it
                self._tell(_sentence(error))
            await self._leave()
            await asyncio.sleep(RETRY_S)

    async def _join(self) -> None:
        consumer = AIOKafkaConsumer(**self._arguments)
        try:
            async with asyncio.timeout(COMMIT_WITHIN_S):
                await consumer.start()
        except BaseException:
            await stop_consumer(consumer, LEAVE_WITHIN_S)
            raise
        self.consumer, self._leaving = consumer, False
        consumer.subscribe([self._topic], listener=self)

    async def _poll(self) -> None:
        consumer = self.consumer
        if consumer is None:
            return
        wanted = [tp for tp, partition in self.partitions.items() if partition.wants_more]
        if self.partitions and not wanted:
            self._owned.hungry.clear()
            await self._owned.hungry.wait()
            return
        try:
            # Without partitions this only looks for errors: a partition is positioned when it is taken over.
            found = await consumer.getmany(*wanted, timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        except Exception as error:  # noqa: BLE001 - a decompressor may raise anything on a damaged or hostile batch
            await self._trouble(consumer, wanted, error)
            return
        if not reads_on(consumer):
            raise KafkaError("the consumer has ended")
        if self._denied_until is not None and asyncio.get_running_loop().time() > self._denied_until:
            self._denied_until = self._obstacle = None
            self._log.warning("the topic can be read again")
        for tp, records in found.items():
            partition = self.partitions.get(tp)
            if partition is not None:
                partition.received(records)
        for tp in wanted:
            await self._grow(consumer, tp, given=tp in found)

    async def _trouble(self, consumer: AIOKafkaConsumer, wanted: Sequence[TopicPartition], error: Exception) -> None:
        if isinstance(error, OffsetOutOfRangeError | NoOffsetForPartitionError):
            await self._gaps.reposition(consumer, error)
        elif isinstance(error, IllegalStateError):
            await asyncio.sleep(QUIET_S)  # a rebalance took one of them
        elif isinstance(error, TopicAuthorizationFailedError):
            self._tell(_sentence(error))
            self._denied_until = asyncio.get_running_loop().time() + 2 * RETRY_S
            await asyncio.sleep(RETRY_S)
        elif not is_damage(error):
            raise error
        else:
            await self._gaps.pass_damage(consumer, wanted)

    async def _grow(self, consumer: AIOKafkaConsumer, tp: TopicPartition, *, given: bool) -> None:
        """Learn the log's end, and step over what is no record (the markers of somebody's transactions)."""
        partition = self.partitions.get(tp)
        if partition is None:
            return
        try:
            end = consumer.highwater(tp)
            if end is not None and end > partition.end:
                partition.grown(end)
            if not given and partition.fetched < partition.end:
                async with asyncio.timeout(QUIET_S):
                    partition.passed(await consumer.position(tp))
        except (IllegalStateError, TimeoutError):
            return

    # -- what aiokafka calls

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """See `ConsumerRebalanceListener`."""
        self._log.info("%d partitions of %s are this process's now", len(assigned), self._topic)
        self._obstacle = None
        if self._leaving:
            return  # nobody would give them up again
        if self.consumer is not None:
            self.consumer.pause(*assigned)  # nothing is fetched before it is known from where on
        for tp in assigned:
            self._owned.take(tp)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """See `ConsumerRebalanceListener`: what is under way is finished within a bounded time, and committed."""
        del revoked
        await self._owned.give_all()

    async def _leave(self) -> None:
        self._leaving = True
        try:
            await self._owned.give_all()
        finally:
            consumer, self.consumer = self.consumer, None
            if consumer is not None:
                await stop_consumer(consumer, LEAVE_WITHIN_S)

    # -- what partitions call

    async def commit(self, tp: TopicPartition, position: int) -> None:
        """See `Membership`."""
        consumer = self.consumer
        if consumer is None:
            raise OwnershipLostError("this process is not in the consumer group")
        try:
            async with asyncio.timeout(COMMIT_WITHIN_S):
                await consumer.commit({tp: OffsetAndMetadata(position, "")})
        except (CommitFailedError, IllegalStateError):
            raise OwnershipLostError("the consumer group has given the partition to another process") from None
        except (KafkaError, TimeoutError) as error:
            raise StorageError(f"Kafka doesn't take the commit ({type(error).__name__})") from None

    async def quarantine(self, record: ConsumerRecord[bytes, bytes], reason: str) -> None:
        """See `Membership`."""
        await self._quarantine.put(record, reason)

    def lost_records(self, tp: TopicPartition, start: int, stop: int, reason: str) -> None:
        """See `Membership`."""
        self._log.error(
            "partition %s/%d: offsets %d to %d are %s", tp.topic, tp.partition, start, stop - 1, _GONE[reason]
        )
        self.count_lost(stop - start, reason)

    def lost(self, partition: KafkaPartition) -> None:
        """See `Membership`."""
        self._owned.retake(partition)

    def sign(self, tp: TopicPartition) -> object:
        """See `Membership`."""
        try:
            return self.consumer.last_poll_timestamp(tp) if self.consumer is not None else None
        except IllegalStateError:
            return None

    def _tell(self, sentence: str) -> None:
        if self._obstacle != sentence:
            self._log.error("%s", sentence)
        self._obstacle = sentence


def _sentence(error: Exception) -> str:
    if isinstance(error, TopicAuthorizationFailedError):
        return "this user may not read the topic"
    if isinstance(error, GroupAuthorizationFailedError):
        return "this user may not use the consumer group"
    return f"the consumer group can't be used ({type(error).__name__})"
