"""Verdicts across processes: what samplers wrote to their decisions topic, and what others may go by."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from collector.connectors.kafka import decisions_feed
from collector.connectors.kafka.journal import EPOCH_KEY
from collector.errors import OwnershipLostError
from tests.integration.kafka_lives import Follower, Topics, ready, until
from tests.servers.kafka_cluster import KafkaCluster

PARTITIONS = 2


@pytest.fixture
async def topics(kafka):
    return await Topics(kafka.bootstrap, partitions=PARTITIONS).create()


class Process:
    """One that goes by the verdicts of `topics.reader`, and runs nothing of the connector."""

    def __init__(self, topics):
        self.heard = []
        self.connector = topics()
        self.meter = topics.meter
        self.feed = self.connector.verdict_feed(topics.reader, self.hear)

    def hear(self, blob):
        if blob.startswith(b"damaged"):
            raise ValueError("damaged")
        self.heard.append(blob)

    async def hears(self, *blobs, within=20):
        await until(lambda: sorted(self.heard) == sorted(blobs), within, lambda: f"{self.heard} is not {blobs}")

    def counted(self, outcome):
        labels = {"connector": "kafka", "pipeline": "traces/sample", "outcome": outcome}
        return self.meter.registry.get_sample_value("butterfly_verdict_feed_records_total", labels) or 0


@asynccontextmanager
async def following(topics):
    process = Process(topics)
    await process.feed.start()
    try:
        yield process
    finally:
        await asyncio.wait_for(process.feed.stop(), 2)


@asynccontextmanager
async def sampling(topics, owns=PARTITIONS):
    """A process that samples; its partitions by number."""
    sampler = Follower()
    async with topics.life(sampler) as connector:
        await ready(connector)
        await until(lambda: len(sampler.partitions) == owns)
        partitions = {int(name.rpartition("/")[2]): each for name, each in sampler.partitions.items()}
        for each in partitions.values():
            await each.load_journal()
        yield partitions


async def test_verdicts_of_several_samplers_are_heard_as_they_come_and_again_after_a_restart(topics):
    async with following(topics) as early:
        await until(lambda: early.feed.obstacle() is None)
        async with sampling(topics) as partitions:
            await partitions[0].journal(b"0/a", 1, 0, 10)
            await partitions[1].journal(b"1/a", 1, 0, 10)
            await early.hears(b"0/a", b"1/a")
            await partitions[1].journal(b"damaged", 1, 0, 10)
            await partitions[1].journal(b"1/b", 1, 0, 10)
            await early.hears(b"0/a", b"1/a", b"1/b")
            async with following(topics) as late:
                await late.hears(b"0/a", b"1/a", b"1/b")
        async with sampling(topics) as partitions:  # another life, with an epoch of its own
            await partitions[0].journal(b"0/b", 1, 0, 10)
            await early.hears(b"0/a", b"1/a", b"1/b", b"0/b")
    async with following(topics) as restarted:
        await restarted.hears(b"0/a", b"1/a", b"1/b", b"0/b")
        assert (restarted.counted("read"), restarted.counted("damaged"), restarted.counted("void")) == (4, 1, 0)


async def test_what_a_sampler_writes_after_its_partition_was_taken_over_is_heard_by_nobody(topics):
    async with following(topics) as early, sampling(topics) as partitions:
        await partitions[0].journal(b"counts", 1, 0, 10)
        async with topics.stranger() as successor:  # that it has not heard of, having been suspended
            await successor.send_and_wait(topics.decisions, b"", EPOCH_KEY, 0)
        with pytest.raises(OwnershipLostError):
            await partitions[0].journal(b"void", 1, 0, 10)
        await partitions[1].journal(b"elsewhere", 1, 0, 10)
        await until(lambda: early.counted("void") == 1)
        async with following(topics) as late:
            await until(lambda: late.counted("void") == 1)
            for process in (early, late):
                await process.hears(b"counts", b"elsewhere")
                assert process.counted("read") == 2


async def test_a_missing_topic_is_told_until_it_is_there(kafka):
    topics = Topics(kafka.bootstrap, partitions=PARTITIONS)
    async with following(topics) as process:
        await until(lambda: "is missing: run `butterfly kafka init" in process.feed.obstacle())
        await topics.create()
        await until(lambda: process.feed.obstacle() is None)
        async with sampling(topics) as partitions:
            await partitions[1].journal(b"a", 1, 0, 10)
            await process.hears(b"a")


async def test_many_verdicts_come_in_the_order_of_each_partition(topics):
    async with sampling(topics) as partitions:
        for n in range(300):
            await partitions[0].journal(b"%04d" % n + bytes(4000), 100, n, 1_000_000)
        async with following(topics) as process:
            await until(lambda: len(process.heard) == 300)
    assert process.heard == sorted(process.heard)


@pytest.mark.soak
async def test_brokers_that_are_away_are_waited_for(kafka_here, tmp_path, monkeypatch):
    monkeypatch.setattr(decisions_feed, "SILENT_S", 3.0)
    with KafkaCluster(tmp_path) as cluster:
        topics = await Topics(cluster.bootstrap, partitions=PARTITIONS).create()
        async with following(topics) as process:
            async with sampling(topics) as partitions:
                await partitions[0].journal(b"before", 1, 0, 10)
                await process.hears(b"before")
            for down, up in ((cluster.stop, cluster.start), (cluster.pause, cluster.resume)):
                await asyncio.to_thread(down)
                await until(lambda: process.feed.obstacle() is not None, 30)
                await asyncio.to_thread(up)
                await until(lambda: process.feed.obstacle() is None, 60)
            async with sampling(topics) as partitions:
                await partitions[0].journal(b"after", 1, 0, 10)
                await process.hears(b"before", b"after")
