"""Several pipelines that read one topic: groups, positions and journals of their own, rebalances that stay apart."""

import asyncio

import pytest

from collector.api import Outcome, Reader, Signal
from collector.testing.durable_connector import append, payloads
from tests.integration.kafka_lives import READER, Follower, Topics, ready, until

OTHER = Reader("traces/archive", Signal.TRACES, journal=False)
GOOD = payloads(1, 40)


class SharedTopics(Topics):
    """As `Topics`, read by two pipelines."""

    readers = [READER, OTHER]  # noqa: RUF012 - never changed


@pytest.fixture
async def topics(kafka):
    return await SharedTopics(kafka.bootstrap, partitions=2).create()


def _spans(follower):
    return sum(record.count for record in follower.records)


def _settled(follower):
    found = follower.partitions.values()
    return bool(found) and all(partition.committed == partition.end for partition in found)


async def test_a_rebalance_of_one_reader_is_nothing_to_the_other(topics):
    """A second process joins one of the two groups, takes a share, and leaves."""
    sampled, archived, joining = Follower(), Follower(reader=OTHER), Follower()
    async with topics.life(sampled, archived) as connector:
        await ready(connector)
        await until(lambda: len(sampled.partitions) == len(archived.partitions) == 2)
        kept = dict(archived.partitions)
        assert {outcome for outcome, _ in await append(connector, GOOD[:10])} == {Outcome.DELIVERED}
        async with topics.life(joining) as second:
            await ready(second)
            await until(lambda: len(joining.partitions) == len(sampled.partitions) == 1)
            await append(connector, GOOD[10:20])
            await append(second, GOOD[20:30])
            await until(lambda: _spans(archived) == 30)
            await until(lambda: _spans(joining) > 0)
        await until(lambda: len(sampled.partitions) == 2)
        await append(connector, GOOD[30:])
        await until(lambda: _spans(archived) == 40)
        await until(lambda: {*sampled.payloads, *joining.payloads} >= set(archived.payloads))
        await until(lambda: _settled(sampled) and _settled(archived))  # reading comes before committing
        assert archived.partitions == kept, "it was never asked to let go"
    for number in range(2):
        ends = {await topics.committed(number, topics.config.group(reader)) for reader in topics.readers}
        assert len(ends) == 1, "both have settled everything"
    assert await topics.committed(0, topics.config.group_id) is None


async def test_each_reader_goes_on_from_its_own_offset_in_another_life(topics):
    sampled, archived = Follower(), Follower(reader=OTHER, commits=False)
    async with topics.life(sampled, archived) as connector:
        await ready(connector)
        await append(connector, GOOD[:10])
        await until(lambda: _spans(sampled) == _spans(archived) == 10)
        await until(lambda: _settled(sampled))
    sampled, archived = Follower(), Follower(reader=OTHER)
    async with topics.life(archived, sampled) as connector:
        await ready(connector)
        await until(lambda: _spans(archived) == 10)
        await append(connector, GOOD[10:20])
        await until(lambda: (_spans(sampled), _spans(archived)) == (10, 20))


async def test_a_reader_without_verdicts_needs_no_decisions_topic(topics):
    archived = Follower(reader=OTHER)
    async with topics.life(archived) as connector:
        await ready(connector)
        await until(lambda: len(archived.partitions) == 2)
        for partition in archived.partitions.values():
            assert list(await partition.load_journal()) == []
        await append(connector, GOOD[:4])
        await until(lambda: _spans(archived) == 4)
    async with topics.admin() as admin:
        names = [name for name in await admin.list_topics() if name.startswith(topics.options["decisions_topic"])]
    assert names == [topics.config.decisions(READER)]


async def test_what_is_no_telemetry_is_put_aside_by_each_reader(topics):
    sampled, archived = Follower(), Follower(reader=OTHER)
    async with topics.life(sampled, archived) as connector:
        await ready(connector)
        await topics.put(b"\xff", GOOD[0])
        await until(lambda: sampled.payloads == archived.payloads == [GOOD[0]])
        await until(lambda: topics.counted("quarantined_records") == 2)
        assert {topics.counted("quarantined_records", pipeline=reader.id) for reader in topics.readers} == {1}
    keys = [record.key for record in await topics.everything(topics.quarantine)]
    assert keys == [f"{topics.data}/0/0".encode()] * 2


async def test_one_reader_that_stands_still_holds_nobody_back(topics):
    class Stuck(Follower):
        async def assigned(self, partition):
            self.partitions[partition.name] = partition
            self._tasks[partition] = asyncio.create_task(asyncio.sleep(3600))

    stuck, archived = Stuck(), Follower(reader=OTHER)
    async with topics.life(stuck, archived) as connector:
        await ready(connector)
        await until(lambda: len(stuck.partitions) == 2)
        await append(connector, GOOD)
        await until(lambda: _spans(archived) == 40)
        await until(lambda: all(each.committed == each.end for each in archived.partitions.values()))
        assert {each.committed for each in stuck.partitions.values()} == {0}
