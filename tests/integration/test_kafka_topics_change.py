"""The partition count decides which sampler sees a trace: where it changes, nothing more is written."""

import logging

import pytest
from aiokafka.admin import NewPartitions

from collector.ack import Outcome
from collector.errors import StorageError
from collector.testing.durable_connector import append, payloads
from tests.integration.kafka_lives import Follower, Topics, hurry, until

GOOD = payloads(0, 40)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture
async def topics(kafka):
    return await Topics(kafka.bootstrap, partitions=2).create()


async def _raise(topics, name, count=3):
    async with topics.admin() as admin:
        await admin.create_partitions({name: NewPartitions(total_count=count)})


@pytest.mark.parametrize("which", ["data", "decisions"])
async def test_a_count_raised_under_us_stops_writing_and_not_reading(topics, which, caplog):
    caplog.set_level(logging.INFO)
    follower = Follower()
    async with topics.life(follower) as connector:
        await until(lambda: len(follower.partitions) == 2)
        assert {outcome for outcome, _ in await append(connector, GOOD[:10])} == {Outcome.DELIVERED}
        name = getattr(topics, which)
        await _raise(topics, name)
        await until(lambda: connector.ready() is not None, within=10)
        assert connector.ready().startswith(f"topic {name} has 3 partitions, expected 2: ")
        before = await topics.everything(partitions=2)
        assert await append(connector, GOOD[10:20]) == [(Outcome.RETRY, "kafka_topics")] * 10
        assert topics.counted("refused", reason="kafka_topics") == 10
        assert await topics.everything(partitions=3 if which == "data" else 2) == before
        # What is in the old partitions, and what others still put there, is read on.
        await topics.put(GOOD[20], partition=0)
        await topics.put(GOOD[21], partition=1)
        await until(lambda: {GOOD[20], GOOD[21]} <= set(follower.payloads), within=30)
        assert sorted(b"".join(follower.payloads)) == sorted(b"".join(GOOD[:10] + GOOD[20:22]))
        for partition in list(follower.partitions.values()):
            await partition.journal(b"verdicts", 1, partition.end, 0)
    troubles = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(troubles) < 10, "no loop that fills the log"


async def test_another_count_at_start_is_an_error(topics):
    await _raise(topics, topics.data)
    with pytest.raises(StorageError, match=r"spans has 3 partitions, expected 2: make it anew, or set partitions"):
        async with topics.life():
            pass
