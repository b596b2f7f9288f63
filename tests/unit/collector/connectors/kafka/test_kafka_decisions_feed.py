import asyncio
import logging
from collections import Counter
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from collector.connectors.kafka import damage as damage_module
from collector.connectors.kafka import decisions_feed as feed_module
from collector.connectors.kafka.decisions_feed import DecisionsFeed
from collector.connectors.kafka.journal import EPOCH_KEY, LAST_FEW, DecisionJournal
from collector.errors import OwnershipLostError, StorageError

TOPIC = "decisions"
ONE, TWO = (TopicPartition(TOPIC, number) for number in range(2))


class Partition:
    """A `JournalLog` whose records the consumer reads."""

    def __init__(self):
        self.records, self.first, self.damaged = [], 0, set()

    @property
    def end(self):
        return self.records[-1].offset + 1 if self.records else self.first

    def land(self, key, value, **numbers):
        headers = [(name.rstrip("_"), b"%d" % number) for name, number in numbers.items()]
        self.records.append(SimpleNamespace(offset=self.end, key=key, value=value, headers=headers))
        return self.end - 1

    async def append(self, key, value, headers):
        self.records.append(SimpleNamespace(offset=self.end, key=key, value=value, headers=headers))
        return self.end - 1

    async def begin(self):
        return self.first

    async def read(self, start, stop):
        return [each for each in self.records if start <= each.offset < stop]

    def forget_before(self, offset):
        self.first = max(self.first, offset)
        self.records = [each for each in self.records if each.offset >= self.first]

    def compact(self):
        newest = {each.key: each.offset for each in self.records}
        self.records = [each for each in self.records if newest[each.key] == each.offset]


class Cluster:
    """Two partitions; `faults` are raised by the next connections, polls by `poll_faults`."""

    def __init__(self):
        self.partitions = {ONE: Partition(), TWO: Partition()}
        self.faults, self.poll_faults, self.consumers = [], [], []
        self.frozen = False

    async def connect(self):
        if self.faults:
            raise self.faults.pop(0)
        self.consumers.append(Consumer(self))
        return self.consumers[-1]


class Consumer:
    """`AIOKafkaConsumer` without a group."""

    def __init__(self, cluster):
        self.cluster, self.positions, self.asked, self.polls, self.stopped = cluster, {}, [], 0, False
        self._fetcher = None
        self._coordinator = None

    async def start(self):
        pass

    async def stop(self):
        self.stopped = True

    def assign(self, tps):
        self.positions = dict.fromkeys(tps)

    def seek(self, tp, position):
        self.asked.append((tp, position))
        self.positions[tp] = position

    async def position(self, tp):
        return self.positions[tp]

    async def beginning_offsets(self, tps):
        return {tp: self.cluster.partitions[tp].first for tp in tps}

    async def end_offsets(self, tps):
        return {tp: self.cluster.partitions[tp].end for tp in tps}

    def highwater(self, tp):
        return self.cluster.partitions[tp].end

    def last_poll_timestamp(self, tp):
        return 0 if self.cluster.frozen else self.polls

    async def getmany(self, *tps, timeout_ms=0, max_records=100):
        await asyncio.sleep(0.001)
        self.polls += 1
        if self.cluster.poll_faults:
            raise self.cluster.poll_faults.pop(0)
        found = {}
        for tp in tps or list(self.positions):
            partition, at = self.cluster.partitions[tp], self.positions[tp]
            if not partition.first <= at <= partition.end:
                raise OffsetOutOfRangeError({tp: at})
            records = []
            for record in [each for each in partition.records if each.offset >= at][:max_records]:
                if record.offset in partition.damaged:
                    if records:
                        break
                    raise CorruptRecordException
                records.append(record)
            if records:
                self.positions[tp] = records[-1].offset + 1
                found[tp] = records
        return found


class Follower:
    """A feed, what it published, and what it counted."""

    def __init__(self, cluster):
        self.heard, self.counts, self.behind = [], Counter(), None
        self.feed = DecisionsFeed(
            TOPIC,
            2,
            self.publish,
            connect=cluster.connect,
            count=lambda outcome: self.counts.update([outcome]),
            behind=self.tell_behind,
            log=logging.getLogger("butterfly.test"),
        )

    def publish(self, blob):
        if blob.startswith(b"bad"):
            raise ValueError("damaged")
        self.heard.append(blob)

    def tell_behind(self, records):
        self.behind = records

    async def hears(self, *blobs):
        await until(lambda: sorted(self.heard) == sorted(blobs), lambda: self.heard)


async def until(holds, what=lambda: ""):
    try:
        async with asyncio.timeout(3):
            while not holds():
                await asyncio.sleep(0.002)
    except TimeoutError:
        pytest.fail(f"not within 3 s: {what()}")


async def one_record(consumer, tp, position):
    return position + 1


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(feed_module, "RETRY_S", 0.01)
    monkeypatch.setattr(feed_module, "POLL_MS", 1)
    monkeypatch.setattr(damage_module, "POLL_MS", 1)
    monkeypatch.setattr(feed_module, "end_of_batch", one_record)
    return Cluster()


@pytest.fixture
async def follower(cluster):
    follower = Follower(cluster)
    yield follower
    await asyncio.wait_for(follower.feed.stop(), 2)
    assert all(each.stopped for each in cluster.consumers)


async def owner(partition):
    journal = DecisionJournal(partition)
    await journal.open()
    await journal.load(0)
    return journal


async def test_what_was_and_what_will_be_decided_is_heard(cluster, follower):
    first, second = [await owner(each) for each in cluster.partitions.values()]
    await first.append(b"a", 1, 0, 100, 0)
    assert follower.feed.obstacle() is not None
    await follower.feed.start()
    await follower.hears(b"a")
    assert follower.feed.obstacle() is None
    await second.append(b"b", 1, 0, 100, 0)
    await first.append(b"c", 1, 0, 100, 0)
    await follower.hears(b"a", b"b", b"c")
    assert follower.counts == {"read": 3}
    await until(lambda: follower.behind == 0)


async def test_what_a_suspended_owner_writes_is_not_heard(cluster, follower):
    """Neither before its successor's epoch is compacted away nor after."""
    log = cluster.partitions[ONE]
    suspended = await owner(log)
    await suspended.append(b"counts", 1, 0, 100, 0)
    successor = await owner(log)
    with pytest.raises(OwnershipLostError):
        await suspended.append(b"void", 1, 0, 100, 0)
    await successor.append(b"void", 1, 0, 100, 0)  # behind the stranger's: it is written once more
    await follower.feed.start()
    await follower.hears(b"counts", b"void")
    assert follower.counts == {"read": 2, "void": 2}
    log.compact()
    again = Follower(cluster)
    await again.feed.start()
    await until(lambda: again.counts["read"] == 2)
    assert sorted(again.heard) == [b"counts", b"void"]
    await again.feed.stop()


async def test_epochs_burials_and_strangers_records_say_nothing(cluster, follower):
    log = cluster.partitions[ONE]
    log.land(EPOCH_KEY, b"")
    log.land(b"0/1", None, epoch=0)
    log.land(None, b"stranger")
    log.land(b"stranger", b"without headers")
    log.land(b"0/2", b"verdicts", at=4, head=0, count=1, from_=0)
    await follower.feed.start()
    await follower.hears(b"verdicts")
    assert follower.counts == {"read": 1, "void": 1}


async def test_what_cant_be_read_is_counted_and_passed_over(cluster, follower):
    journal = await owner(cluster.partitions[ONE])
    for blob in (b"a", b"bad", b"b"):
        await journal.append(blob, 1, 0, 100, 0)
    await follower.feed.start()
    await follower.hears(b"a", b"b")
    assert follower.counts == {"read": 2, "damaged": 1}


async def test_it_begins_where_a_restart_of_the_owner_would(cluster, follower):
    """A topic holds an hour of what nobody needs any more."""
    log = cluster.partitions[ONE]
    journal = await owner(log)
    for n in range(3 * LAST_FEW):
        await journal.append(b"%d" % n, 1, n, 10, n)
    await follower.feed.start()
    await until(lambda: follower.heard[-1:] == [b"%d" % (3 * LAST_FEW - 1)])
    successor = DecisionJournal(log)
    await successor.open()
    assert set(await successor.load(1 << 40)) <= set(follower.heard)
    assert len(follower.heard) < LAST_FEW
    assert (ONE, 0) not in cluster.consumers[0].asked


async def test_connections_that_fail_are_made_again_and_nothing_is_missed_or_heard_twice(cluster, follower):
    cluster.faults = [StorageError("topic decisions is missing: make it"), KafkaConnectionError(), OSError()]
    journal = await owner(cluster.partitions[TWO])
    await journal.append(b"a", 1, 0, 100, 0)
    await follower.feed.start()
    await until(lambda: follower.feed.obstacle() == "topic decisions is missing: make it")
    await follower.hears(b"a")
    for error in (TopicAuthorizationFailedError(), KafkaConnectionError()):
        cluster.poll_faults.append(error)
        await until(lambda: follower.feed.obstacle() is not None)
        await journal.append(b"b", 1, 0, 100, 0)
        await until(lambda: follower.feed.obstacle() is None)
    await follower.hears(b"a", b"b", b"b")
    assert len(cluster.consumers) == 3
    assert all(each.stopped for each in cluster.consumers[:-1])


async def test_brokers_that_say_nothing_are_an_obstacle(cluster, follower, monkeypatch):
    monkeypatch.setattr(feed_module, "SILENT_S", 0.05)
    await follower.feed.start()
    await until(lambda: follower.feed.obstacle() is None)
    cluster.frozen = True
    cluster.faults = [KafkaConnectionError()] * 20
    await until(lambda: follower.feed.obstacle() is not None)
    cluster.frozen = False
    await until(lambda: follower.feed.obstacle() is None)


async def test_damaged_batches_are_stepped_over(cluster, follower):
    first, second = [await owner(each) for each in cluster.partitions.values()]
    for n in range(6):
        await first.append(b"1/%d" % n, 1, 0, 100, 0)
        await second.append(b"2/%d" % n, 1, 0, 100, 0)
    cluster.partitions[ONE].damaged = {3, 4}
    await follower.feed.start()
    await until(lambda: len(set(follower.heard)) == 10)
    assert {b"1/2", b"1/3"}.isdisjoint(follower.heard)
    assert len(follower.heard) == 10
    assert follower.counts == {"read": 10, "damaged": 2}


async def test_a_topic_that_lost_its_beginning_or_was_made_anew_is_read_on(cluster, follower):
    log = cluster.partitions[ONE]
    journal = await owner(log)
    for n in range(5):
        await journal.append(b"%d" % n, 1, 0, 100, 0)
    await follower.feed.start()
    await follower.hears(b"0", b"1", b"2", b"3", b"4")
    cluster.partitions[ONE] = Partition()
    await (await owner(cluster.partitions[ONE])).append(b"new", 1, 0, 100, 0)
    await follower.hears(b"0", b"1", b"2", b"3", b"4", b"new")
    assert len(cluster.consumers) == 1


async def test_the_last_few_that_cant_be_read_are_no_reason_not_to_begin(cluster, follower):
    log = cluster.partitions[ONE]
    journal = await owner(log)
    for n in range(5):
        await journal.append(b"%d" % n, 1, 0, 100, 0)
    log.damaged = {5}
    await follower.feed.start()
    await follower.hears(b"0", b"1", b"2", b"3")
    await journal.append(b"5", 1, 0, 100, 0)
    await follower.hears(b"0", b"1", b"2", b"3", b"5")


async def test_a_stop_before_a_start_or_in_the_midst_of_it_ends_at_once(cluster):
    await Follower(cluster).feed.stop()
    follower = Follower(cluster)
    await follower.feed.start()
    await asyncio.wait_for(follower.feed.stop(), 1)
