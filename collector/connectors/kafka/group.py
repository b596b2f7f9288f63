"""Membership in the consumer group: which partitions are this process's, fed from one consumer, given up in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
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
from collector.connectors.kafka.damage import POLL_MS, POLL_RECORDS, end_of_batch, is_damage, read_up_to_damage
from collector.connectors.kafka.journal import DecisionJournal
from collector.connectors.kafka.partition import KafkaPartition
from collector.connectors.kafka.stream_time import StreamTime
from collector.connectors.kafka.topic_log import TopicLog
from collector.errors import ButterflyError, OwnershipLostError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from logging import Logger

    from aiokafka import ConsumerRecord

    from collector.component.connector import PartitionListener
    from collector.connectors.kafka.options import KafkaOptions
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
NEWEST_WITHIN_S = 1.0

_GONE = {
    "retention": "lost: the topic's retention ran over them before they were settled",
    "damaged": "damaged, and lost",
}


class Group(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka's class has no types
    """Joins the group, hands partitions to the graph, polls, commits. A `Membership` for its partitions.

    Taking a partition over needs the journal, which may be away: it happens in the background, again and again, so that
    the group's heartbeat never waits for it.
    """

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
        """Without a `decisions_topic` the listener has no verdicts to keep. `reader` is stopped with the group."""
        self._config = config
        self._signal = listener.signal
        self._listener = listener
        self._arguments = arguments
        self._decisions_topic = decisions_topic
        self._producer = producer
        self._reader = reader
        self._quarantine = quarantine
        self._count_lost = lost_records
        self._log = log
        self._topic = config.topic(listener.signal)
        self._budget = budget
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._taking: dict[TopicPartition, asyncio.Task[None]] = {}
        self._giving: set[asyncio.Task[None]] = set()
        self._hungry = asyncio.Event()
        self._assignments = 0
        self._leaving = False
        self._obstacle: str | None = "the consumer group is being joined"
        self._denied_until: float | None = None  # the brokers say that something is forbidden, never that it isn't
        self.partitions: dict[TopicPartition, KafkaPartition] = {}

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
        self._consumer, self._leaving = consumer, False
        consumer.subscribe([self._topic], listener=self)

    async def _poll(self) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        wanted = [tp for tp, partition in self.partitions.items() if partition.wants_more]
        if self.partitions and not wanted:
            self._hungry.clear()
            await self._hungry.wait()
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
            await self._reposition(consumer, error)
        elif isinstance(error, IllegalStateError):
            await asyncio.sleep(QUIET_S)  # a rebalance took one of them
        elif isinstance(error, TopicAuthorizationFailedError):
            self._tell(_sentence(error))
            self._denied_until = asyncio.get_running_loop().time() + 2 * RETRY_S
            await asyncio.sleep(RETRY_S)
        elif not is_damage(error):
            raise error
        else:
            await self._pass_damage(consumer, wanted)

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

    async def _reposition(self, consumer: AIOKafkaConsumer, error: Exception) -> None:
        """The topic no longer holds what comes next: go on where it begins, and count what is missing."""
        offsets = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for tp in offsets:
            partition = self.partitions.get(tp)
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
                self._retake(partition)
                continue
            consumer.seek(tp, partition.fetched)

    async def _pass_damage(self, consumer: AIOKafkaConsumer, wanted: Sequence[TopicPartition]) -> None:
        """Some partition's next batch can't be read: step over it, and read again what was dropped with it."""
        for tp in wanted:
            partition = self.partitions.get(tp)
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
        current = self.partitions.get(tp)
        if current is partition:
            return False
        if current is not None and tp in consumer.assignment():
            consumer.seek(tp, current.fetched)
        return True

    # -- what aiokafka calls

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """See `ConsumerRebalanceListener`."""
        self._log.info("%d partitions of %s are this process's now", len(assigned), self._topic)
        self._obstacle = None
        if self._leaving:
            return  # nobody would give them up again
        if self._consumer is not None:
            self._consumer.pause(*assigned)  # nothing is fetched before it is known from where on
        for tp in assigned:
            self._take(tp)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """See `ConsumerRebalanceListener`: what is under way is finished within a bounded time, and committed."""
        del revoked
        await self._give_all()

    # -- taking over and giving up

    def _take(self, tp: TopicPartition, after_s: float = 0.0) -> None:
        task = asyncio.get_running_loop().create_task(self._take_over(tp, after_s))
        self._taking[tp] = task
        task.add_done_callback(lambda done: self._taking.pop(tp, None) if self._taking.get(tp) is done else None)

    async def _take_over(self, tp: TopicPartition, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                await self._try_take_over(tp)
            except (ButterflyError, KafkaError, TimeoutError) as error:
                why = error if isinstance(error, ButterflyError) else type(error).__name__
                self._log.warning("partition %s/%d can't be taken over yet: %s", tp.topic, tp.partition, why)
            except Exception as error:  # noqa: BLE001 - whatever it was, nobody else would take it
                self._log.error("partition %s/%d can't be taken over: %s", tp.topic, tp.partition, type(error).__name__)
            else:
                return
            await asyncio.sleep(RETRY_S)

    async def _try_take_over(self, tp: TopicPartition) -> None:
        consumer = self._consumer
        if consumer is None or tp not in consumer.assignment():
            return  # another's by now: an epoch of ours in its journal would take it away from there
        journal = None
        if self._decisions_topic is not None:
            decisions = TopicPartition(self._decisions_topic, tp.partition)
            journal = DecisionJournal(TopicLog(decisions, self._producer, self._reader))
            await journal.open()
        start, end, newest_ns = await self._where(consumer, tp)  # after the epoch: see the journal
        partition = KafkaPartition(
            tp,
            self._signal,
            start,
            end,
            journal=journal,
            reader=self._reader,
            budget=self._budget,
            time=StreamTime(newest_ns if start == end else 0, newest_ns=newest_ns),
            group=self,
            fed=self._hungry.set,
        )
        try:
            consumer.seek(tp, start)
            consumer.resume(tp)
            self.partitions[tp] = partition
            self._hungry.set()
            await self._listener.assigned(partition)
        except BaseException:
            if self.partitions.get(tp) is partition:
                del self.partitions[tp]
                partition.close()
            raise
        if self.partitions.get(tp) is not partition:
            await self._listener.revoked(partition)  # it was given up before the graph had it

    async def _where(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> tuple[int, int, int]:
        """Where to begin, where the log ends, and the stamp of the newest record."""
        async with asyncio.timeout(COMMIT_WITHIN_S):
            committed = await consumer.committed(tp)
        first, end = await self._reader.bounds(tp)
        start = first if committed is None or not first <= committed <= end else committed
        if committed is None and self._config.initial_offset == "latest":
            start = end
        if start != committed:
            # A successor goes on from here, not from what is the end then; and what is lost is counted once.
            await self.commit(tp, start)
        if committed is not None and committed < first:
            self.lost_records(tp, committed, first, "retention")
        elif committed is not None and committed > end:
            self._log.error(
                "partition %s/%d: the topic ends at %d, before the committed offset %d: it was made anew, or has lost "
                "records; reading it from its beginning",
                tp.topic,
                tp.partition,
                end,
                committed,
            )
            self._count_lost(committed - end, "truncated")
        return start, end, await self._newest_stamp(tp, first, end)

    async def _newest_stamp(self, tp: TopicPartition, first: int, end: int) -> int:
        if end == first:
            return 0
        try:
            newest = await self._reader.read(tp, end - 1, patience_s=NEWEST_WITHIN_S)
        except StorageError:
            return 0  # a marker of somebody's transaction: the records before it will be read, and tell
        return int(newest[-1].timestamp) * 1_000_000

    def _retake(self, partition: KafkaPartition) -> None:
        """Give `partition` up, and take it over anew unless the group takes it away."""
        if self.partitions.get(partition.tp) is partition:
            del self.partitions[partition.tp]
            task = asyncio.get_running_loop().create_task(self._give(partition))
            self._giving.add(task)
            task.add_done_callback(partial(self._given, partition.tp, self._assignments))

    def _given(self, tp: TopicPartition, assignments: int, task: asyncio.Task[None]) -> None:
        self._giving.discard(task)
        if assignments == self._assignments:
            self._take(tp, RETRY_S)

    async def _give(self, partition: KafkaPartition) -> None:
        try:
            await self._listener.revoked(partition)
        except Exception:  # noqa: BLE001 - logged; the partition is gone either way
            self._log.exception("partition %s was not given up cleanly", partition.name)
        finally:
            partition.close()

    async def _give_all(self) -> None:
        self._assignments += 1
        taking, self._taking = list(self._taking.values()), {}
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)
        partitions, self.partitions = list(self.partitions.values()), {}
        self._hungry.set()
        await asyncio.gather(*(self._give(partition) for partition in partitions), *self._giving)

    async def _leave(self) -> None:
        self._leaving = True
        try:
            await self._give_all()
        finally:
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                await stop_consumer(consumer, LEAVE_WITHIN_S)

    # -- what partitions call

    async def commit(self, tp: TopicPartition, position: int) -> None:
        """See `Membership`."""
        consumer = self._consumer
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
        self._count_lost(stop - start, reason)

    def lost(self, partition: KafkaPartition) -> None:
        """See `Membership`."""
        self._retake(partition)

    def sign(self, tp: TopicPartition) -> object:
        """See `Membership`."""
        try:
            return self._consumer.last_poll_timestamp(tp) if self._consumer is not None else None
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
