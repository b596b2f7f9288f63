"""Lives of the kafka connector in tests of faults: topics of one's own, a follower that reads and commits, metrics."""

import asyncio
import logging
import secrets
import time
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from collector.api import BuildContext, Meter, Reader, Signal
from collector.connectors.kafka import KafkaConnector, KafkaOptions
from collector.connectors.kafka.topics import create
from collector.errors import OwnershipLostError, StorageError

TRACES = frozenset({Signal.TRACES})
READER = Reader("traces/sample", Signal.TRACES)


class Topics:
    """Topics and a group that nobody else uses, and connectors on them; `meter` and `connector` are the newest's."""

    def __init__(self, bootstrap, **options):
        mark = secrets.token_hex(4)
        self.reader = READER
        self.bootstrap = bootstrap
        self.security = {}
        self.options = {
            "brokers": bootstrap,
            "group_id": f"faults-{mark}",
            "partitions": 1,
            "session_timeout": "3s",
            "heartbeat_interval": "1s",
            "min_fetch_size": 1,
            "max_fetch_wait": "50ms",
            "traces": {"topic": f"faults.{mark}.spans"},
            "decisions_topic": f"faults.{mark}.decisions",
            "quarantine_topic": f"faults.{mark}.quarantine",
        } | options
        self.meter = Meter()
        self.log = logging.getLogger(f"kafka.{mark}")

    @property
    def readers(self):
        return [self.reader]

    @property
    def signals(self):
        return frozenset({self.reader.signal})

    @property
    def config(self):
        return KafkaOptions(**self.options)

    @property
    def data(self):
        return self.options["traces"]["topic"]

    @property
    def quarantine(self):
        return self.options["quarantine_topic"]

    @property
    def decisions(self):
        return self.config.decisions(self.reader)

    @property
    def group(self):
        return self.config.group(self.reader)

    async def create(self):
        """Make the topics."""
        await create(self.config, self.signals, self.readers)
        return self

    def __call__(self):
        self.meter = Meter()
        context = BuildContext("kafka", self.log, self.meter, signals=self.signals, readers=self.readers)
        return KafkaConnector(self.config, context)

    @asynccontextmanager
    async def life(self, *listeners):
        """One life of a connector with `listeners`."""
        connector = self()
        await connector.start(listeners)
        try:
            yield connector
        finally:
            await connector.stop()

    def counted(self, name, **labels):
        """One counter of the newest connector, summed over the labels that aren't given."""
        wanted = {"connector": "kafka", **labels}
        return sum(
            sample.value
            for family in self.meter.registry.collect()
            for sample in family.samples
            if sample.name == f"butterfly_log_{name}_total" and wanted.items() <= sample.labels.items()
        )

    # -- what others do with the topics

    @asynccontextmanager
    async def stranger(self, **how):
        """A plain producer."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, **self.security, **how)
        try:
            await producer.start()
            yield producer
        finally:
            await producer.stop()

    async def put(self, *values, key=None, headers=(), partition=0, **how):
        """Write values into the data topic, one batch each; their offsets."""
        async with self.stranger(**how) as producer:
            return [
                (await producer.send_and_wait(self.data, value, key, partition, headers=list(headers))).offset
                for value in values
            ]

    async def put_batch(self, values, *, headers=(), **how):
        """Write values into partition 0 of the data topic as one batch."""
        async with self.stranger(**how) as producer:
            batch = producer.create_batch()
            for value in values:
                assert batch.append(key=None, value=value, timestamp=None, headers=list(headers)) is not None
            await (await producer.send_batch(batch, self.data, partition=0))

    async def everything(self, topic=None, partitions=1):
        """All records of a topic, as a lone consumer without a group reads them."""
        tps = [TopicPartition(topic or self.data, number) for number in range(partitions)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", **self.security)
        try:
            await consumer.start()
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            records = []
            for tp in tps:
                async with asyncio.timeout(20):
                    while await consumer.position(tp) < ends[tp]:
                        for found in (await consumer.getmany(tp, timeout_ms=500)).values():
                            records += found
            return records
        finally:
            await consumer.stop()

    async def committed(self, partition=0, group=None):
        """Where the group is, or None."""
        async with self.admin() as admin:
            found = await admin.list_consumer_group_offsets(group or self.group)
        at = found.get(TopicPartition(self.data, partition))
        return None if at is None or at.offset < 0 else at.offset

    @asynccontextmanager
    async def admin(self):
        """An admin client."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, **self.security)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


class Follower:
    """Reads what it is given, as the graph does but one record at a time, and commits behind each if it shall."""

    def __init__(self, *, commits=True, reader=READER):
        self.id = reader.id
        self.signal = reader.signal
        self.commits = commits
        self.records = []
        self.troubles = []
        self.partitions = {}
        self.assigned_once = asyncio.Event()
        self._tasks = {}

    async def assigned(self, partition):
        self.partitions[partition.name] = partition
        self._tasks[partition] = asyncio.create_task(self._follow(partition))
        self.assigned_once.set()

    async def revoked(self, partition):
        self.partitions.pop(partition.name, None)
        task = self._tasks.pop(partition)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, partition):
        position = partition.committed
        while True:
            try:
                await partition.wait(position)
                chunk = await partition.read(position, 1 << 20)
                self.records += chunk.records
                position = chunk.next
                if self.commits:
                    await partition.commit(position)
            except OwnershipLostError:
                return
            except StorageError as error:
                self.troubles.append(str(error))
                await asyncio.sleep(0.1)

    @property
    def payloads(self):
        return [record.payload for record in self.records]

    async def has(self, count, within=20):
        """Wait until there are `count` records."""
        await until(lambda: len(self.records) >= count, within, lambda: f"{len(self.records)} of {count} records")


async def until(condition, within=20, what=lambda: "it"):
    """Wait for a condition; returns the seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"{what()} after {within} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def ready(connector, within=20):
    """Wait until the connector is ready."""
    await until(lambda: connector.ready() is None, within, lambda: f"not ready: {connector.ready()}")


async def delete_records(topics, before, partition=0):
    """Have the broker forget what stands before an offset."""
    async with topics.admin() as admin:
        await admin.delete_records({TopicPartition(topics.data, partition): RecordsToDelete(before_offset=before)})


def hurry(monkeypatch):
    """Let the connector look sooner whether what was wrong with the topics is mended."""
    monkeypatch.setattr("collector.connectors.kafka.topic_watch.CHECK_AGAIN_S", 0.3)
