"""Bytes that flipped on a broker's disk cost the records of that batch, and no others."""

import asyncio
import sys
from pathlib import Path

import pytest

from collector.testing.durable_connector import payloads
from tests.integration.kafka_lives import Follower, Topics, until
from tests.servers.kafka_cluster import KafkaCluster

GOOD = payloads(0, 40)
PLANT = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
async def main():
    async with AIOKafkaProducer(
        bootstrap_servers=sys.argv[1], compression_type="zstd", max_request_size=1 << 30, request_timeout_ms=60000
    ) as producer:
        await producer.send_and_wait(sys.argv[2], bytes(512 << 20), partition=0)
asyncio.run(main())
"""
BATCH = payloads(100, 5)


@pytest.fixture
def cluster(kafka_here, tmp_path):
    with KafkaCluster(tmp_path) as cluster:
        yield cluster


def _flip(folder, partition, payload, nth=0):
    """Flip one bit in the middle of a payload that is kept in plain."""
    (path,) = folder.rglob(f"{partition}/00000000000000000000.log")
    content = bytearray(path.read_bytes())
    at = 0
    for _ in range(nth + 1):
        at = content.index(payload, at) + len(payload) // 2
    content[at] ^= 0x10
    path.write_bytes(content)


async def _restarted(cluster, damage):
    await asyncio.to_thread(cluster.stop)
    damage()
    await asyncio.to_thread(cluster.start)


async def test_exactly_the_damaged_batches_are_lost_to_head_and_tail(cluster, tmp_path):
    """Three partitions, so that records of a whole one come in the same answer as the damage of another."""
    topics = await Topics(cluster.bootstrap, partitions=3, recent_bytes=0).create()
    await topics.put(*GOOD[:10], partition=0)
    await topics.put_batch(BATCH)
    await topics.put(*GOOD[10:20], partition=0)
    await topics.put(*GOOD[20:30], partition=1)
    await topics.put(*GOOD[30:40], partition=2)
    damaged = [GOOD[0], BATCH[2], GOOD[19], GOOD[25]]

    def damage():
        for payload in damaged[:3]:
            _flip(tmp_path, f"{topics.data}-0", payload)
        _flip(tmp_path, f"{topics.data}-1", damaged[3])

    await _restarted(cluster, damage)
    whole = [each for each in GOOD if each not in damaged]
    follower = Follower(commits=False)
    async with topics.life(follower):
        await until(lambda: len(follower.partitions) == 3 and all(_read(each) for each in follower.partitions.values()))
        await follower.has(len(whole))
        assert sorted(follower.payloads) == sorted(whole)
        assert topics.counted("lost_records", reason="damaged") == 1 + len(BATCH) + 1 + 1
        again = [record for each in follower.partitions.values() for record in await _again(each)]
        assert sorted(record.payload for record in again) == sorted(whole)
        assert topics.counted("lost_records") == 8, "the tail counts nothing twice"
        for partition in follower.partitions.values():
            await partition.commit(partition.end)
    assert [await topics.committed(number) for number in range(3)] == [25, 10, 10]


async def test_a_damaged_batch_of_many_records_is_passed_at_once(cluster, tmp_path):
    topics = await Topics(cluster.bootstrap, recent_bytes=0).create()
    await topics.put(GOOD[0])
    many = payloads(1000, 3000, size=20)
    await topics.put_batch(many, max_batch_size=1 << 20)
    await topics.put_batch(many, max_batch_size=1 << 20)
    await topics.put(GOOD[1])
    await topics.put_batch(many, max_batch_size=1 << 20)

    def damage():
        _flip(tmp_path, f"{topics.data}-0", many[7])
        _flip(tmp_path, f"{topics.data}-0", many[7], nth=1)

    await _restarted(cluster, damage)
    follower = Follower(commits=False)
    async with topics.life(follower):
        await follower.assigned_once.wait()
        (partition,) = follower.partitions.values()
        assert await until(lambda: partition.fetched == 9002) < 3
        await follower.has(3002)
        whole = [GOOD[0], *many, GOOD[1]]
        assert follower.payloads == whole
        assert [record.payload for record in await _again(partition)] == whole
    assert topics.counted("lost_records", reason="damaged") == topics.counted("lost_records") == 6000


async def test_a_batch_that_inflates_to_half_a_gigabyte_costs_itself_and_little_memory(kafka):
    """The broker lets it in: what counts there is its compressed size."""
    topics = await Topics(kafka.bootstrap, recent_bytes=0).create()
    await topics.put(*GOOD[:3])
    planter = await asyncio.create_subprocess_exec(sys.executable, "-c", PLANT, topics.bootstrap[0], topics.data)
    assert await planter.wait() == 0
    await topics.put(*GOOD[3:6], compression_type="zstd")
    follower = Follower(commits=False)
    _forget_peak()
    before = _peak()
    async with topics.life(follower):
        await follower.has(6)
        assert follower.payloads == GOOD[:6]
        (partition,) = follower.partitions.values()
        assert [record.payload for record in await _again(partition)] == GOOD[:6]
    assert _peak() - before < 64 << 20
    assert topics.counted("lost_records", reason="damaged") == topics.counted("lost_records") == 1


def _forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def _peak():
    """The most memory that this process had, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _read(partition):
    return partition.fetched >= partition.end > 0


async def _again(partition):
    position, records = 0, []
    while position < partition.end:
        chunk = await asyncio.wait_for(partition.read(position, 300), 10)
        assert chunk.next > position
        records += chunk.records
        position = chunk.next
    return records
