import asyncio
import logging
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaConnectionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from collector.batch import Signal
from collector.connectors.kafka import damage as damage_module
from collector.connectors.kafka import gaps as gaps_module
from collector.connectors.kafka import group as group_module
from collector.connectors.kafka import ownership as ownership_module
from collector.connectors.kafka.group import Group
from collector.connectors.kafka.journal import EPOCH_KEY
from collector.connectors.kafka.options import KafkaOptions
from collector.connectors.kafka.producer import NotSentError
from collector.connectors.kafka.recent import PayloadBudget
from collector.errors import OwnershipLostError, StorageError

TP = TopicPartition("otlp_spans", 0)
OTHER = TopicPartition("otlp_spans", 1)
DECISIONS = TopicPartition("butterfly_decisions", 0)


class Cluster:
    """Topics, committed offsets and one group, without a network. Also the producer and the reader."""

    def __init__(self):
        self.logs, self.first, self.committed = {}, {}, {}
        self.damaged, self.markers = set(), set()
        self.consumers, self.start_fails, self.send_fails, self.read_fails = [], [], [], []
        self.order = []

    async def stop(self):
        self.order.append("stop")

    def write(self, tp, count=1, value=b""):
        log = self.logs.setdefault(tp, [])
        for _ in range(count):
            at = self.end(tp)
            log.append(
                SimpleNamespace(offset=at, key=None, value=value, headers=(), timestamp=5000 + at, topic=tp.topic)
            )
            log[-1].partition = tp.partition

    def end(self, tp):
        return len(self.logs.get(tp, ()))

    def after(self, tp, position):
        return [each for each in self.logs.get(tp, ())[position:] if (tp, each.offset) not in self.markers]

    async def send(self, topic, records, headers):
        ((partition, key, value),) = records
        tp = TopicPartition(topic, partition)
        if self.send_fails:
            raise self.send_fails.pop(0)
        self.write(tp, value=value)
        self.order.append(key)
        self.logs[tp][-1].key, self.logs[tp][-1].headers = key, headers
        return [SimpleNamespace(partition=partition, offset=self.end(tp) - 1)]

    async def bounds(self, tp):
        if self.read_fails:
            raise self.read_fails.pop(0)
        return self.first.get(tp, 0), self.end(tp)

    async def read(self, tp, position, patience_s=1):
        found = self.after(tp, position)
        if not found:
            raise StorageError("nothing comes")
        return found

    async def range(self, tp, start, stop):
        return [each for each in self.after(tp, start) if each.offset < stop]

    def forget(self, tp):
        """Nothing is read ahead."""

    def __call__(self, **arguments):
        self.consumers.append(Consumer(self))
        return self.consumers[-1]


class Consumer:
    """`AIOKafkaConsumer` as the group uses it."""

    def __init__(self, cluster):
        self.cluster, self.listener = cluster, None
        self.assigned, self.positions, self.paused = set(), {}, set()
        self.commit_fails, self.poll_fails, self.stopped, self.polls = [], [], False, 0
        self.hangs_at_stop = False
        self._coordinator = SimpleNamespace(_heartbeat_task=None)
        self._fetcher = None
        self._client = SimpleNamespace(close=self.close)

    async def start(self):
        if self.cluster.start_fails:
            raise self.cluster.start_fails.pop(0)

    async def stop(self):
        self.stopped = True
        if self.hangs_at_stop:
            await asyncio.sleep(1000)

    async def close(self):
        await asyncio.sleep(1000)

    def subscribe(self, topics, listener):
        assert topics == [TP.topic]
        self.listener = listener

    async def assign(self, *tps):
        self.assigned, self.paused, self.positions = set(tps), set(), {}
        await self.listener.on_partitions_assigned(set(tps))

    async def revoke(self):
        await self.listener.on_partitions_revoked(set(self.assigned))
        self.assigned = set()

    def assignment(self):
        return self.assigned

    def pause(self, *tps):
        self.paused |= set(tps)

    def resume(self, *tps):
        self.paused -= set(tps)

    def seek(self, tp, position):
        if tp not in self.assigned:
            raise IllegalStateError("not assigned")
        self.positions[tp] = position

    async def position(self, tp):
        position = self.positions[tp]
        while (tp, position) in self.cluster.markers:
            position += 1
        return position

    def highwater(self, tp):
        return self.cluster.end(tp)

    def last_poll_timestamp(self, tp):
        if tp not in self.assigned:
            raise IllegalStateError("not assigned")
        return self.polls

    async def committed(self, tp):
        self.cluster.order.append("committed")
        return self.cluster.committed.get(tp)

    async def commit(self, offsets):
        if self.commit_fails:
            raise self.commit_fails.pop(0)
        for tp, each in offsets.items():
            self.cluster.committed[tp] = each.offset

    async def getmany(self, *tps, timeout_ms=0, max_records=100):
        self.polls += 1
        await asyncio.sleep(0.001)
        if self.poll_fails:
            raise self.poll_fails.pop(0)
        found = {}
        for tp in tps or self.assigned - self.paused:
            at = self.positions.get(tp)
            if at is None or tp in self.paused:
                continue
            if at < self.cluster.first.get(tp, 0) or at > self.cluster.end(tp):
                raise OffsetOutOfRangeError({tp: at})
            records = []
            for each in self.cluster.after(tp, at)[:max_records]:
                if (tp, each.offset) in self.cluster.damaged:
                    if records:
                        break
                    raise CorruptRecordException
                records.append(each)
            if records:
                self.positions[tp] = records[-1].offset + 1
                found[tp] = records
        return found


class Graph:
    """The listener: takes what it is given."""

    id = "traces/a"
    signal = Signal.TRACES

    def __init__(self):
        self.partitions, self.given_back, self.fails, self.hold = [], [], [], None
        self.hold_back = None

    async def assigned(self, partition):
        if self.hold is not None:
            await self.hold.wait()
        await partition.load_journal()
        if self.fails:
            raise self.fails.pop(0)
        self.partitions.append(partition)

    async def revoked(self, partition):
        self.given_back.append(partition)
        if self.hold_back is not None:
            await self.hold_back.wait()
        if self.fails:
            raise self.fails.pop(0)


class Member:
    def __init__(self, cluster, **options):
        self.cluster, self.graph, self.lost, self.quarantined = cluster, Graph(), [], []
        config = KafkaOptions.model_validate(options)
        self.group = Group(
            config,
            self.graph,
            {},
            decisions_topic="butterfly_decisions",
            budget=PayloadBudget(config.recent_bytes),
            producer=cluster,
            reader=cluster,
            quarantine=SimpleNamespace(put=self.put),
            lost_records=lambda count, reason: self.lost.append((count, reason)),
            log=logging.getLogger("butterfly.test"),
        )

    async def put(self, record, reason):
        self.quarantined.append((record.offset, reason))

    async def joined(self):
        self.group.start()
        await until(lambda: self.cluster.consumers and self.cluster.consumers[-1].listener is self.group)
        return self.cluster.consumers[-1]

    async def owns(self, count=1):
        await until(lambda: len(self.graph.partitions) == count)
        return self.graph.partitions[-1]


async def until(holds):
    async with asyncio.timeout(3):
        while not holds():
            await asyncio.sleep(0.002)


async def everything(partition):
    position, found = partition.committed, []
    while position < partition.end:
        chunk = await partition.read(position, 1 << 20)
        found += [record.position for record in chunk.records]
        position = chunk.next
    return found


async def one_record(consumer, tp, position):
    """Every record is a batch of its own."""
    return position + 1


@pytest.fixture
def cluster(monkeypatch):
    cluster = Cluster()
    monkeypatch.setattr(group_module, "AIOKafkaConsumer", cluster)
    monkeypatch.setattr(group_module, "RETRY_S", 0.01)
    monkeypatch.setattr(group_module, "COMMIT_WITHIN_S", 0.2)
    monkeypatch.setattr(ownership_module, "RETRY_S", 0.01)
    monkeypatch.setattr(ownership_module, "ANSWER_WITHIN_S", 0.2)
    monkeypatch.setattr(group_module, "LEAVE_WITHIN_S", 0.05)
    monkeypatch.setattr(damage_module, "POLL_MS", 1)
    monkeypatch.setattr(gaps_module, "end_of_batch", one_record)
    monkeypatch.setattr(gaps_module, "RETRY_S", 0.01)
    return cluster


@pytest.fixture
async def member(cluster):
    member = Member(cluster)
    yield member
    await asyncio.wait_for(member.group.stop(), 3)
    assert member.group.partitions == {}


async def test_a_member_without_partitions_waits_and_is_well(member, cluster):
    consumer = await member.joined()
    await consumer.assign()
    await until(lambda: consumer.polls > 2)
    assert member.group.obstacle() is None


async def test_a_partition_is_taken_over_where_it_was_committed(member, cluster):
    cluster.write(TP, 10)
    cluster.committed[TP] = 4
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    assert (partition.committed, partition.end) == (4, 10)
    await until(lambda: partition.fetched == 10)
    assert await everything(partition) == [4, 5, 6, 7, 8, 9]
    assert consumer.paused == set()


async def test_the_epoch_comes_before_the_committed_position(member, cluster):
    await (await member.joined()).assign(TP)
    await member.owns()
    assert cluster.order == [EPOCH_KEY, "committed"]


@pytest.mark.parametrize(("initial", "start"), [("earliest", 2), ("latest", 10)])
async def test_a_group_that_never_committed_begins_where_it_is_told_and_stays_there(cluster, initial, start):
    cluster.write(TP, 10)
    cluster.first[TP] = 2
    member = Member(cluster, initial_offset=initial)
    await (await member.joined()).assign(TP)
    assert (await member.owns()).committed == start
    await member.group.stop()
    cluster.write(TP, 5)
    successor = Member(cluster, initial_offset=initial)
    await (await successor.joined()).assign(TP)
    assert (await successor.owns()).committed == start
    await successor.group.stop()


async def test_time_goes_on_from_the_newest_record_where_all_is_settled(member, cluster):
    cluster.write(TP, 3)
    cluster.committed[TP] = 3
    await (await member.joined()).assign(TP)
    assert (await member.owns()).now_ns() >= 5002 * 10**6


async def test_a_backlog_has_the_time_it_had(member, cluster):
    cluster.write(TP, 3)
    cluster.logs[TP][2].timestamp = 9_000_000
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    assert partition.now_ns() == 9_000_000 * 10**6
    await until(lambda: partition.fetched == 3)
    times = [record.time_ns for record in (await partition.read(0, 1000)).records]
    assert times == [5000 * 10**6, 5001 * 10**6, 9_000_000 * 10**6]


async def test_taking_over_is_tried_until_it_works(member, cluster):
    cluster.write(TP, 3)
    cluster.send_fails = [NotSentError("kafka_away")]
    cluster.read_fails = [StorageError("away")]
    member.graph.fails = [StorageError("the journal can't be read")]
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await until(lambda: partition.fetched == 3)
    assert list(member.group.partitions.values()) == [partition]


async def test_taking_over_again_and_again_counts_what_is_lost_once(member, cluster):
    cluster.write(TP, 10)
    cluster.committed[TP], cluster.first[TP] = 2, 7
    member.graph.fails = [StorageError("not now"), StorageError("not yet")]
    await (await member.joined()).assign(TP)
    assert (await member.owns()).committed == 7
    assert member.lost == [(5, "retention")]
    assert cluster.committed[TP] == 7


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(member, cluster, caplog):
    cluster.write(TP, 3)
    cluster.committed[TP] = 50
    member.graph.fails = [StorageError("not now")]
    await (await member.joined()).assign(TP)
    assert (await member.owns()).committed == 0
    assert member.lost == [(47, "truncated")]
    assert "made anew" in caplog.text


async def test_a_beginning_that_cant_be_committed_is_tried_again_and_nothing_counted_twice(member, cluster):
    cluster.write(TP, 10)
    cluster.committed[TP], cluster.first[TP] = 2, 7
    consumer = await member.joined()
    consumer.commit_fails = [KafkaConnectionError(), CommitFailedError()]
    await consumer.assign(TP)
    assert (await member.owns()).committed == 7
    assert member.lost == [(5, "retention")]


async def test_a_rebalance_ends_what_is_being_taken_over(member, cluster):
    member.graph.hold = asyncio.Event()
    consumer = await member.joined()
    await consumer.assign(TP, OTHER)
    await until(lambda: len(member.group.partitions) == 2)
    await asyncio.wait_for(consumer.revoke(), 1)
    assert member.group.partitions == {}
    member.graph.hold.set()
    await asyncio.sleep(0.03)
    assert member.graph.partitions == []
    await consumer.assign(OTHER)
    assert (await member.owns()).tp == OTHER


async def test_what_was_revoked_goes_back_to_the_graph_and_is_closed(member, cluster):
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    member.graph.fails = [RuntimeError("a processor failed at the end")]
    await consumer.revoke()
    assert member.graph.given_back == [partition]
    with pytest.raises(OwnershipLostError):
        await partition.read(0, 1)


async def test_a_partition_that_another_writes_for_is_given_up_and_taken_over_anew(member, cluster):
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    await cluster.send(DECISIONS.topic, [(0, EPOCH_KEY, b"")], [])
    with pytest.raises(OwnershipLostError):
        await partition.journal(b"verdicts", 1, 1, 0)
    again = await member.owns(2)
    assert again is not partition
    assert member.graph.given_back == [partition]
    await again.journal(b"verdicts", 1, 1, 0)


async def test_a_partition_that_is_anothers_by_then_is_not_taken_over_anew(member, cluster):
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    member.group.lost(partition)
    await consumer.revoke()
    await asyncio.sleep(0.05)
    assert len(member.graph.partitions) == 1
    assert [each.key for each in cluster.logs[DECISIONS]] == [EPOCH_KEY]


async def test_damaged_records_are_stepped_over_and_counted(member, cluster):
    cluster.write(TP, 8)
    cluster.write(OTHER, 5)
    cluster.damaged = {(TP, 2), (TP, 3), (TP, 6), (OTHER, 0)}
    await (await member.joined()).assign(TP, OTHER)
    await member.owns(2)
    one, other = (member.group.partitions[tp] for tp in (TP, OTHER))
    await until(lambda: one.fetched == 8 and other.fetched == 5)
    assert await everything(one) == [0, 1, 4, 5, 7]
    assert await everything(other) == [1, 2, 3, 4]
    assert sorted(member.lost) == [(1, "damaged"), (1, "damaged"), (2, "damaged")]


async def test_retention_that_overran_the_head_is_counted_and_stepped_over(member, cluster):
    cluster.write(TP, 3)
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await until(lambda: partition.fetched == 3)
    cluster.first[TP] = 20
    cluster.write(TP, 20)
    await until(lambda: partition.fetched == 23)
    assert member.lost == [(17, "retention")]
    assert await everything(partition) == [0, 1, 2, 20, 21, 22]


async def test_a_topic_that_ends_before_what_was_read_is_taken_over_anew(member, cluster):
    cluster.write(TP, 9)
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await until(lambda: partition.fetched == 9)
    cluster.committed[TP] = 9
    del cluster.logs[TP][4:]
    assert (await member.owns(2)).committed == 0
    assert member.lost == [(5, "truncated")]


async def test_markers_at_the_end_are_stepped_over(member, cluster):
    cluster.write(TP, 4)
    cluster.markers = {(TP, 2), (TP, 3)}
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await until(lambda: partition.fetched == 4)
    assert await everything(partition) == [0, 1]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CommitFailedError(), OwnershipLostError),
        (IllegalStateError("no"), OwnershipLostError),
        (KafkaConnectionError(), StorageError),
        (TimeoutError(), StorageError),
    ],
)
async def test_a_commit_that_is_refused_or_fails(member, cluster, error, kind):
    cluster.write(TP, 5)
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    consumer.commit_fails = [error]
    with pytest.raises(kind):
        await partition.commit(3)
    await partition.commit(3)
    assert cluster.committed[TP] == 3


async def test_outside_the_group_nothing_is_committed(cluster):
    with pytest.raises(OwnershipLostError):
        await Member(cluster).group.commit(TP, 1)


@pytest.mark.parametrize("error", [KafkaConnectionError(), OSError(), TimeoutError(), ValueError("what is this")])
async def test_joining_is_tried_until_it_works(member, cluster, error):
    cluster.start_fails = [error]
    consumer = await member.joined()
    assert cluster.consumers[0].stopped
    assert len(cluster.consumers) == 2
    assert member.group.obstacle() is not None
    await consumer.assign(TP)
    await member.owns()
    assert member.group.obstacle() is None


async def test_a_connection_that_breaks_gives_everything_back_and_joins_again(member, cluster):
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    consumer.poll_fails = [KafkaConnectionError()]
    await until(lambda: len(cluster.consumers) == 2 and cluster.consumers[1].listener is not None)
    assert consumer.stopped
    assert member.graph.given_back == [partition]
    await cluster.consumers[1].assign(TP)
    await member.owns(2)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TopicAuthorizationFailedError("t"), "this user may not read the topic"),
        (GroupAuthorizationFailedError("g"), "this user may not use the consumer group"),
    ],
)
async def test_what_is_forbidden_is_said_and_tried_again(member, cluster, error, sentence):
    consumer = await member.joined()
    consumer.poll_fails = [error]
    await until(lambda: member.group.obstacle() == sentence)
    await until(lambda: cluster.consumers[-1].polls > 2 and cluster.consumers[-1].listener is not None)
    await cluster.consumers[-1].assign(TP)
    await until(lambda: member.group.obstacle() is None)


async def test_records_that_are_no_telemetry_go_to_the_quarantine(member, cluster):
    cluster.write(TP, 1)
    cluster.write(TP, 1, b"\xff\xff")
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await until(lambda: partition.fetched == 2)
    assert await everything(partition) == [0]
    assert member.quarantined == [(1, "malformed")]


async def test_no_more_is_fetched_than_is_read(member, cluster, monkeypatch):
    cluster.write(TP, 1000)
    monkeypatch.setattr("collector.connectors.kafka.partition.UNREAD_BYTES", 50)
    monkeypatch.setattr(group_module, "POLL_RECORDS", 100)
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await asyncio.sleep(0.05)
    assert partition.fetched == 100
    await everything(partition)
    await until(lambda: partition.fetched > 100)


async def test_records_without_a_payload_take_room_too(member, cluster):
    cluster.write(TP, 20_000)
    await (await member.joined()).assign(TP)
    partition = await member.owns()
    await until(lambda: not partition.wants_more)
    await asyncio.sleep(0.05)
    assert 4000 < partition.fetched < 8000


async def test_the_brokers_signs_are_the_polls(member, cluster):
    consumer = await member.joined()
    assert member.group.sign(TP) is None
    await consumer.assign(TP)
    await member.owns()
    before = member.group.sign(TP)
    await until(lambda: member.group.sign(TP) != before)


async def test_a_consumer_that_fetches_no_more_is_replaced(member, cluster):
    consumer = await member.joined()
    await consumer.assign(TP)
    partition = await member.owns()
    ended = asyncio.get_running_loop().create_future()
    ended.set_exception(KafkaConnectionError())
    consumer._fetcher = SimpleNamespace(error_future=ended)
    await until(lambda: len(cluster.consumers) == 2 and cluster.consumers[1].listener is not None)
    assert ended.exception() is not None
    assert member.graph.given_back == [partition]
    assert consumer.stopped


async def test_whatever_fails_a_take_over_is_tried_again(member, cluster):
    member.graph.fails = [RuntimeError("a processor can't be made")]
    await (await member.joined()).assign(TP)
    await member.owns()


async def test_a_rebalance_while_damage_is_looked_at_takes_nothing_from_the_next_life(member, cluster, monkeypatch):
    looking, go_on = asyncio.Event(), asyncio.Event()

    async def slow(consumer, tp, position):
        looking.set()
        await go_on.wait()
        return position + 1

    monkeypatch.setattr(gaps_module, "end_of_batch", slow)
    cluster.write(TP, 10)
    cluster.damaged = {(TP, 4)}
    consumer = await member.joined()
    await consumer.assign(TP)
    await asyncio.wait_for(looking.wait(), 2)
    await consumer.revoke()
    cluster.damaged = set()
    await consumer.assign(TP)
    again = await member.owns(2)
    go_on.set()
    await until(lambda: again.fetched == 10)
    assert await everything(again) == list(range(10))


async def test_a_rebalance_while_the_topic_is_asked_for_its_beginning_takes_nothing_from_the_next_life(member, cluster):
    asked, go_on = asyncio.Event(), asyncio.Event()
    cluster.write(TP, 10)
    consumer = await member.joined()
    await consumer.assign(TP)
    first = await member.owns()
    await until(lambda: first.fetched == 10)
    bounds = cluster.bounds

    async def slow(tp):
        cluster.bounds = bounds
        asked.set()
        await go_on.wait()
        return await bounds(tp)

    cluster.bounds = slow
    consumer.poll_fails = [OffsetOutOfRangeError({TP: 10})]
    await asyncio.wait_for(asked.wait(), 2)
    await consumer.revoke()
    await consumer.assign(TP)
    again = await member.owns(2)
    go_on.set()
    await until(lambda: again.fetched == 10)
    assert await everything(again) == list(range(10))


async def test_a_partition_that_is_lost_before_the_graph_has_it_goes_back(member, cluster):
    member.graph.hold = asyncio.Event()
    await (await member.joined()).assign(TP)
    await until(lambda: TP in member.group.partitions)
    lost = member.group.partitions[TP]
    member.group.lost(lost)
    member.graph.hold.set()
    again = await member.owns(2)
    assert lost is not again
    assert lost in member.graph.given_back[1:]
    assert member.group.partitions == {TP: again}


async def test_a_stop_that_takes_too_long_leaves_no_member_behind(cluster, monkeypatch):
    monkeypatch.setattr(group_module, "STOP_WITHIN_S", 0.05)
    member = Member(cluster)
    consumer = await member.joined()
    await consumer.assign(TP)
    await member.owns()
    member.graph.hold_back, consumer.hangs_at_stop = asyncio.Event(), True
    heartbeat = asyncio.create_task(asyncio.sleep(1000))
    consumer._coordinator = SimpleNamespace(_heartbeat_task=heartbeat)
    await asyncio.wait_for(member.group.stop(), 1)
    assert consumer.stopped
    await until(heartbeat.cancelled)


async def test_what_is_assigned_while_leaving_is_not_taken(member, cluster):
    consumer = await member.joined()
    await consumer.assign(TP)
    await member.owns()
    member.graph.hold_back = asyncio.Event()
    stopping = asyncio.create_task(member.group.stop())
    await until(lambda: member.graph.given_back)
    await consumer.assign(OTHER)
    await asyncio.sleep(0.03)
    member.graph.hold_back.set()
    await stopping
    assert len(member.graph.partitions) == 1
