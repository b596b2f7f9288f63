"""Which partitions of the data topic are this process's: taken over in the background, given up in time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from collector.connectors.kafka.journal import DecisionJournal
from collector.connectors.kafka.partition import KafkaPartition, Membership
from collector.connectors.kafka.stream_time import StreamTime
from collector.connectors.kafka.topic_log import TopicLog
from collector.errors import ButterflyError, StorageError

if TYPE_CHECKING:
    from logging import Logger

    from aiokafka import AIOKafkaConsumer

    from collector.component.connector import PartitionListener
    from collector.connectors.kafka.options import KafkaOptions
    from collector.connectors.kafka.producer import Producer
    from collector.connectors.kafka.reader import LogReader
    from collector.connectors.kafka.recent import PayloadBudget

RETRY_S = 1.0
ANSWER_WITHIN_S = 5.0
NEWEST_WITHIN_S = 1.0


class Member(Membership, Protocol):
    """The consumer group, as a member of it."""

    @property
    def consumer(self) -> AIOKafkaConsumer | None:
        """None while this process is not in the group."""

    def count_lost(self, count: int, reason: str) -> None:
        """Count records that the topic could not give back."""


class Ownership:
    """The partitions that the group has given to this process, and the graph's `listener` that works through them.

    Taking a partition over needs the journal, which may be away: it happens in the background, again and again, so that
    the group's heartbeat never waits for it. Without a `decisions_topic` the listener has no journal to keep.
    """

    def __init__(
        self,
        config: KafkaOptions,
        listener: PartitionListener,
        group: Member,
        *,
        decisions_topic: str | None,
        producer: Producer,
        reader: LogReader,
        budget: PayloadBudget,
        log: Logger,
    ) -> None:
        self.partitions: dict[TopicPartition, KafkaPartition] = {}
        self.hungry = asyncio.Event()
        """Set when some partition may want more."""
        self._config = config
        self._listener = listener
        self._signal = listener.signal
        self._group = group
        self._decisions_topic = decisions_topic
        self._producer = producer
        self._reader = reader
        self._budget = budget
        self._log = log
        self._taking: dict[TopicPartition, asyncio.Task[None]] = {}
        self._giving: set[asyncio.Task[None]] = set()
        self._assignments = 0

    def take(self, tp: TopicPartition, after_s: float = 0.0) -> None:
        """Take `tp` over, as soon as that works; nothing, where it is another's by then."""
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
        consumer = self._group.consumer
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
            group=self._group,
            fed=self.hungry.set,
        )
        try:
            consumer.seek(tp, start)
            consumer.resume(tp)
            self.partitions[tp] = partition
            self.hungry.set()
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
        async with asyncio.timeout(ANSWER_WITHIN_S):
            committed = await consumer.committed(tp)
        first, end = await self._reader.bounds(tp)
        start = first if committed is None or not first <= committed <= end else committed
        if committed is None and self._config.initial_offset == "latest":
            start = end
        if start != committed:
            # A successor goes on from here, not from what is the end then; and what is lost is counted once.
            await self._group.commit(tp, start)
        if committed is not None and committed < first:
            self._group.lost_records(tp, committed, first, "retention")
        elif committed is not None and committed > end:
            self._log.error(
                "partition %s/%d: the topic ends at %d, before the committed offset %d: it was made anew, or has lost "
                "records; reading it from its beginning",
                tp.topic,
                tp.partition,
                end,
                committed,
            )
            self._group.count_lost(committed - end, "truncated")
        return start, end, await self._newest_stamp(tp, first, end)

    async def _newest_stamp(self, tp: TopicPartition, first: int, end: int) -> int:
        if end == first:
            return 0
        try:
            newest = await self._reader.read(tp, end - 1, patience_s=NEWEST_WITHIN_S)
        except StorageError:
            return 0  # a marker of somebody's transaction: the records before it will be read, and tell
        return int(newest[-1].timestamp) * 1_000_000

    def retake(self, partition: KafkaPartition) -> None:
        """Give `partition` up, and take it over anew unless the group takes it away."""
        if self.partitions.get(partition.tp) is partition:
            del self.partitions[partition.tp]
            task = asyncio.get_running_loop().create_task(self._give(partition))
            self._giving.add(task)
            task.add_done_callback(partial(self._given, partition.tp, self._assignments))

    def _given(self, tp: TopicPartition, assignments: int, task: asyncio.Task[None]) -> None:
        self._giving.discard(task)
        if assignments == self._assignments:
            self.take(tp, RETRY_S)

    async def _give(self, partition: KafkaPartition) -> None:
        try:
            await self._listener.revoked(partition)
        except Exception:  # noqa: BLE001 - logged; the partition is gone either way
            self._log.exception("partition %s was not given up cleanly", partition.name)
        finally:
            partition.close()

    async def give_all(self) -> None:
        """Give everything back to the graph, which finishes what is under way within a bounded time, and commits."""
        self._assignments += 1
        taking, self._taking = list(self._taking.values()), {}
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)
        partitions, self.partitions = list(self.partitions.values()), {}
        self.hungry.set()
        await asyncio.gather(*(self._give(partition) for partition in partitions), *self._giving)
