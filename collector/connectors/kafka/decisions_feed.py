"""The verdicts of one reader's samplers, wherever they run: its decisions topic, read without being in the group."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from collector.component.verdict_feed import VerdictFeed
from collector.connectors.kafka.connection import reads_on, stop_consumer
from collector.connectors.kafka.damage import POLL_MS, POLL_RECORDS, end_of_batch, is_damage, read_up_to_damage
from collector.connectors.kafka.journal import EPOCH_KEY, LAST_FEW, counts, needed_from
from collector.errors import ButterflyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from logging import Logger

    from aiokafka import AIOKafkaConsumer, ConsumerRecord

AT_ONCE = 200
"""Records that are published before others get a turn."""
RETRY_S = 1.0
ANSWER_WITHIN_S = 5.0
SILENT_S = 10.0
"""A broker that leads a partition and says nothing of it for so long is away; one that has nothing new says that."""
LEAVE_WITHIN_S = 1.0


class DecisionsFeed(VerdictFeed):
    """Reads all partitions of `topic` from where their verdicts are still needed, and then follows them.

    A record counts where its owner, being alone, expected it (see `journal`): what a suspended owner writes in vain is
    not published. Memory: what one fetch holds.
    """

    def __init__(
        self,
        topic: str,
        partitions: int,
        publish: Callable[[bytes], None],
        *,
        connect: Callable[[], Awaitable[AIOKafkaConsumer]],
        count: Callable[[str], None],
        behind: Callable[[int], None],
        log: Logger,
    ) -> None:
        """`connect` gives a consumer without a group, not started, and raises where the topic isn't there. `count` is
        told what became of a record, `behind` how many are still to be read."""
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._publish = publish
        self._connect = connect
        self._count = count
        self._behind = behind
        self._log = log
        self._next: dict[TopicPartition, int] = {}
        self._signs: dict[TopicPartition, object] = {}
        self._heard: dict[TopicPartition, float] = {}
        self._obstacle: str | None = "the sampling verdicts are not read yet"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `VerdictFeed`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """See `VerdictFeed`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def obstacle(self) -> str | None:
        """See `VerdictFeed`."""
        return self._obstacle

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - what answers may be no Kafka, and aiokafka make anything of it
                self._tell(_sentence(error))
            await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        """Until something is in the way."""
        consumer = await self._connect()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await consumer.start()
            consumer.assign(self._partitions)
            self._heard = dict.fromkeys(self._partitions, monotonic())
            self._go_on(consumer)
            await self._begin(consumer, [tp for tp in self._partitions if tp not in self._next])
            self._tell(None)
            while True:
                await self._poll(consumer)
        finally:
            await stop_consumer(consumer, LEAVE_WITHIN_S)

    async def _begin(self, consumer: AIOKafkaConsumer, tps: Collection[TopicPartition]) -> None:
        """Find out where to begin with `tps`: not before what their owners themselves would read after a restart."""
        if not tps:
            return
        async with asyncio.timeout(ANSWER_WITHIN_S):
            first = await consumer.beginning_offsets(tps)
            end = await consumer.end_offsets(tps)
        starts = {tp: first[tp] for tp in tps}
        looking = {tp for tp in tps if first[tp] < end[tp]}
        for tp in looking:
            consumer.seek(tp, max(first[tp], end[tp] - LAST_FEW))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while looking:
                    found = await consumer.getmany(*looking, timeout_ms=POLL_MS, max_records=POLL_RECORDS)
                    for tp, records in found.items():
                        starts[tp] = needed_from(records, starts[tp])
                    looking = {tp for tp in looking if await consumer.position(tp) < end[tp]}
        except TimeoutError:
            pass  # further back is right, too
        except Exception as error:
            if not is_damage(error):
                raise
        self._next |= starts
        for tp, start in starts.items():
            consumer.seek(tp, start)

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        try:
            found = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
        except Exception as error:  # noqa: BLE001 - a decompressor may raise anything on a damaged or hostile batch
            await self._trouble(consumer, error)
            return
        if not reads_on(consumer):
            raise KafkaError("the consumer has ended")
        for tp, records in found.items():
            self._take(tp, records)
        self._behind(sum(max(0, (consumer.highwater(tp) or 0) - at) for tp, at in self._next.items()))
        self._look_for_signs(consumer)
        await asyncio.sleep(0)  # while there is much to catch up with, `getmany` waits for nothing

    def _take(self, tp: TopicPartition, records: Iterable[ConsumerRecord[bytes, bytes]]) -> None:
        for record in records:
            self._next[tp] = record.offset + 1
            if record.key is None or record.key == EPOCH_KEY or not record.value:
                continue
            if not counts(record):
                self._count("void")
                continue
            try:
                self._publish(record.value)
            except Exception:  # noqa: BLE001 - a sampler's decoder; whatever it makes of the bytes, they are no verdicts
                self._count("damaged")
            else:
                self._count("read")

    async def _trouble(self, consumer: AIOKafkaConsumer, error: Exception) -> None:
        if isinstance(error, OffsetOutOfRangeError | NoOffsetForPartitionError):
            self._go_on(consumer)
            gone = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            await self._begin(consumer, [tp for tp in self._partitions if tp in gone])
        elif is_damage(error):
            await self._pass_damage(consumer)
        else:
            raise error

    async def _pass_damage(self, consumer: AIOKafkaConsumer) -> None:
        """Some partition's next batch can't be read: step over it, and read again what was dropped with it."""
        for tp in self._partitions:
            damaged = True
            while damaged:
                try:
                    records, damaged = await read_up_to_damage(consumer, tp, self._next[tp])
                except (OffsetOutOfRangeError, NoOffsetForPartitionError):
                    break  # the next poll says so again
                self._take(tp, records)
                if damaged:
                    self._count("damaged")
                    self._next[tp] = await end_of_batch(consumer, tp, self._next[tp])
        self._go_on(consumer)

    def _go_on(self, consumer: AIOKafkaConsumer) -> None:
        for tp, at in self._next.items():
            consumer.seek(tp, at)

    def _look_for_signs(self, consumer: AIOKafkaConsumer) -> None:
        now = monotonic()
        for tp in self._partitions:
            sign = consumer.last_poll_timestamp(tp)
            if sign != self._signs.get(tp):
                self._signs[tp], self._heard[tp] = sign, now
        if now - min(self._heard.values()) > SILENT_S:
            raise StorageError("the brokers say nothing of the sampling verdicts")

    def _tell(self, sentence: str | None) -> None:
        if sentence != self._obstacle:
            if sentence is None:
                self._log.info("the sampling verdicts are followed")
            else:
                self._log.error("%s", sentence)
        self._obstacle = sentence


def _sentence(error: Exception) -> str:
    if isinstance(error, ButterflyError):
        return str(error)
    if isinstance(error, TopicAuthorizationFailedError):
        return "this user may not read the sampling verdicts"
    return f"the sampling verdicts can't be read ({type(error).__name__})"
