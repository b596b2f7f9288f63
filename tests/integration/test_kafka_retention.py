"""What the topic lost before it was read is counted to the record, said, and stepped over."""

import asyncio
import logging

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from collector.testing.durable_connector import payloads
from tests.integration.kafka_lives import Follower, Topics, delete_records, hurry, ready, until

GOOD = payloads(0, 10)
LARGE = payloads(0, 8, size=900_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture
async def topics(kafka):
    return await Topics(kafka.bootstrap).create()


class _Idle(Follower):
    """Takes partitions, and reads nothing of them until it is told to."""

    def __init__(self):
        super().__init__(commits=True)
        self.awake = asyncio.Event()

    async def _follow(self, partition):
        await self.awake.wait()
        await super()._follow(partition)


async def _settle(topics, upto):
    """A first life that commits a position."""
    follower = Follower(commits=False)
    async with topics.life(follower):
        await follower.has(upto)
        (partition,) = follower.partitions.values()
        await partition.commit(upto)


async def test_an_overrun_while_down_costs_what_was_not_committed(topics, caplog):
    await topics.put(*GOOD)
    await _settle(topics, 4)
    await delete_records(topics, 7)
    follower = Follower()
    async with topics.life(follower):
        await follower.has(3)
        await until(lambda: [each.committed for each in follower.partitions.values()] == [10])
    assert follower.payloads == GOOD[7:]
    assert topics.counted("lost_records", reason="retention") == topics.counted("lost_records") == 3
    assert "offsets 4 to 6 are lost: the topic's retention ran over them" in caplog.text


async def test_what_was_committed_is_not_lost_by_deleting_it(topics):
    await topics.put(*GOOD)
    await _settle(topics, 4)
    await delete_records(topics, 4)
    follower = Follower()
    async with topics.life(follower):
        await follower.has(6)
    assert follower.payloads == GOOD[4:]
    assert topics.counted("lost_records") == 0


async def test_an_overrun_of_a_slow_head_costs_what_it_had_not_fetched(topics, caplog):
    await topics.put(*LARGE)
    follower = _Idle()
    async with topics.life(follower):
        await follower.assigned_once.wait()
        (partition,) = follower.partitions.values()
        await until(lambda: not partition.wants_more, what=lambda: "a full buffer")
        await delete_records(topics, 7)
        follower.awake.set()
        await until(lambda: follower.partitions and partition.committed == 8)
        positions = [record.position for record in follower.records]
    missing = sorted(set(range(8)) - set(positions))
    assert missing == list(range(missing[0], 7)), "one run, up to what the topic still holds"
    assert topics.counted("lost_records", reason="retention") == topics.counted("lost_records") == len(missing) >= 2
    assert f"offsets {missing[0]} to 6 are lost" in caplog.text


async def test_an_overrun_between_head_and_tail_is_counted_once(topics, caplog):
    topics.options["recent_bytes"] = 0
    await topics.put(*GOOD)
    follower = Follower(commits=False)
    async with topics.life(follower):
        await follower.has(10)
        (partition,) = follower.partitions.values()
        await delete_records(topics, 6)
        for _ in range(2):
            position, seen = 0, []
            while position < 10:
                chunk = await asyncio.wait_for(partition.read(position, 300), 10)
                assert chunk.next > position
                seen += [record.payload for record in chunk.records]
                position = chunk.next
            assert seen == GOOD[6:]
        await partition.commit(10)
    assert topics.counted("lost_records", reason="retention") == topics.counted("lost_records") == 6
    assert caplog.text.count("offsets 0 to 5 are lost") == 1
    assert await topics.committed() == 10


async def test_a_topic_made_anew_while_down_is_read_from_its_beginning(topics):
    """A broker forgets what groups committed for a topic together with the topic."""
    await topics.put(*GOOD)
    await _settle(topics, 10)
    async with topics.admin() as admin:
        await admin.delete_topics([topics.data])
    await topics.create()
    await topics.put(*GOOD[:3])
    follower = Follower()
    async with topics.life(follower):
        await follower.has(3)
        await until(lambda: [each.committed for each in follower.partitions.values()] == [3])
    assert follower.payloads == GOOD[:3]
    assert topics.counted("lost_records") == 0


async def test_a_topic_that_ends_before_the_committed_offset_is_read_from_its_beginning(topics, caplog):
    await topics.put(*GOOD[:3])
    tp = TopicPartition(topics.data, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=topics.bootstrap, group_id=topics.group)
    await consumer.start()
    consumer.assign([tp])
    await consumer.commit({tp: 10})
    await consumer.stop()
    follower = Follower()
    async with topics.life(follower):
        await follower.has(3)
        await until(lambda: [each.committed for each in follower.partitions.values()] == [3])
    assert follower.payloads == GOOD[:3]
    assert topics.counted("lost_records", reason="truncated") == topics.counted("lost_records") == 7
    again = Follower()
    async with topics.life(again):
        await topics.put(GOOD[4])
        await again.has(1)
    assert again.payloads == [GOOD[4]]
    assert topics.counted("lost_records") == 0
    assert caplog.text.count("was made anew, or has lost records") == 1


async def test_a_topic_made_anew_while_it_is_read_is_read_from_its_beginning(topics, caplog, monkeypatch):
    """Noticed with the next look at the cluster, of which there is one in 30 s if nobody asks for more."""
    monkeypatch.setattr("collector.connectors.kafka.connection._METADATA_MAX_AGE_MS", 1000)
    caplog.set_level(logging.INFO)
    await topics.put(*GOOD)
    follower = Follower()
    async with topics.life(follower) as connector:
        await follower.has(10)
        await until(lambda: [each.committed for each in follower.partitions.values()] == [10])
        async with topics.admin() as admin:
            await admin.delete_topics([topics.data])
        await until(lambda: connector.ready() is not None, what=lambda: "the sentence")
        await topics.create()
        await topics.put(*GOOD[:3])
        await ready(connector, within=30)
        await follower.has(13, within=30)
        await until(lambda: [each.committed for each in follower.partitions.values()] == [3])
    assert follower.payloads == GOOD + GOOD[:3]
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) < 20, "no loop that fills the log"
