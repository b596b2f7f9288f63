"""What is no telemetry in a topic goes to the quarantine topic, and harms nothing else."""

import asyncio
import os

import pytest

from collector.testing.durable_connector import payloads
from tests.integration.kafka_lives import Follower, Topics, hurry, until

GOOD = payloads(0, 12)
HUGE = os.urandom(900_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture
async def topics(kafka):
    return await Topics(kafka.bootstrap, timeout="1s").create()


def _reasons(records):
    return [dict(record.headers)["butterfly-reason"].decode() for record in records]


async def test_poison_between_good_records_is_put_aside_and_the_rest_delivered_in_order(topics):
    await topics.put(GOOD[0], b"\xff garbage", GOOD[1])
    await topics.put(GOOD[2], headers=[("butterfly-signal", b"logs")])
    await topics.put(GOOD[3], headers=[("butterfly-signal", b"traces")])
    await topics.put(GOOD[4], headers=[("butterfly-tenant", b"\xff\xfe")])
    await topics.put(None, HUGE, GOOD[5], b"\x0a\xff\xff\xff\xff\x0f", key=b"whose")
    await topics.put(b"", GOOD[6])
    follower = Follower()
    async with topics.life(follower):
        await follower.assigned_once.wait()
        assert await until(lambda: GOOD[6] in follower.payloads) < 2, "the stall"
        good = [GOOD[0], GOOD[1], GOOD[3], GOOD[5]]
        assert [each for each in follower.payloads if each] == [*good, GOOD[6]]
        await until(lambda: follower.partitions[f"{topics.data}/0"].committed == 12)
    expected = ["malformed", "wrong_signal", "bad_tenant", "empty", "malformed", "malformed"]
    aside = await topics.everything(topics.quarantine)
    assert _reasons(aside) == expected
    assert [record.key.decode() for record in aside] == [f"{topics.data}/0/{at}" for at in (1, 3, 5, 6, 7, 9)]
    assert [record.value for record in aside] == [
        b"\xff garbage", GOOD[2], GOOD[4], None, HUGE, b"\x0a\xff\xff\xff\xff\x0f",
    ]  # fmt: skip
    assert topics.counted("quarantined_records") == 6
    assert topics.counted("quarantined_records", reason="malformed") == 3
    assert topics.counted("lost_records") == 0
    assert await topics.committed() == 12


async def test_poison_that_is_too_large_to_put_aside_is_put_aside_in_part(topics):
    """A stranger's codec makes five megabytes fit into a topic that takes one."""
    topics.options["producer"] = {"compression": "none"}
    large = bytes(5 << 20)
    await topics.put(GOOD[0])
    await topics.put(large, GOOD[1], compression_type="zstd", max_request_size=8 << 20)
    await topics.put(b"\xff", headers=[("large", bytes(200_000))])
    await topics.put(GOOD[2])
    follower = Follower()
    async with topics.life(follower):
        await follower.has(3)
        assert follower.payloads == GOOD[:3]
    one, other = await topics.everything(topics.quarantine)
    assert one.value == large[:1_000_000]
    assert dict(one.headers) == {"butterfly-reason": b"malformed", "butterfly-size": b"5242880"}
    assert (other.value, dict(other.headers)) == (b"\xff", {"butterfly-reason": b"malformed"})
    assert topics.counted("quarantined_records") == 2


async def test_nothing_is_skipped_while_the_quarantine_topic_is_away(topics):
    await topics.put(GOOD[0], b"\xff", GOOD[1])
    follower = Follower()
    async with topics.admin() as admin, topics.life(follower) as connector:
        await follower.has(2)
        await admin.delete_topics([topics.quarantine])
        await topics.put(b"\xfe", GOOD[2])
        await until(lambda: len(follower.troubles) >= 2, what=lambda: "the trouble")
        assert GOOD[2] not in follower.payloads
        assert await topics.committed() == 3
        assert connector.ready() is not None
    # In another life it is still away: the start says so, and nothing is skipped.
    with pytest.raises(Exception, match=r"quarantine is missing: run `butterfly kafka init"):
        async with topics.life(Follower()):
            pass
    assert await topics.committed() == 3
    await topics.create()
    follower = Follower()
    async with topics.life(follower):
        await follower.has(1)
        assert follower.payloads == [GOOD[2]]
        await until(lambda: follower.partitions[f"{topics.data}/0"].committed == 5)
    assert _reasons(await topics.everything(topics.quarantine)) == ["malformed"]


async def test_a_quarantine_topic_that_comes_back_is_used_without_a_restart(topics):
    follower = Follower()
    async with topics.admin() as admin, topics.life(follower):
        await follower.assigned_once.wait()
        await admin.delete_topics([topics.quarantine])
        await topics.put(b"\xfe", GOOD[0])
        await until(lambda: follower.troubles, what=lambda: "the trouble")
        await topics.create()
        await follower.has(1, within=30)
        assert follower.payloads == [GOOD[0]]
    assert _reasons(await topics.everything(topics.quarantine)) == ["malformed"]


async def test_a_tail_that_reads_again_steps_over_what_the_head_put_aside(topics):
    topics.options["recent_bytes"] = 0
    await topics.put(b"\xff", GOOD[0], b"\xfe", b"\xfd", GOOD[1], b"\xfc")
    follower = Follower(commits=False)
    async with topics.life(follower):
        await follower.has(2)
        (partition,) = follower.partitions.values()
        await until(lambda: topics.counted("quarantined_records") == 4)
        position, seen = 0, []
        while position < 6:
            chunk = await asyncio.wait_for(partition.read(position, 1 << 20), 10)
            assert chunk.next > position
            seen += [record.payload for record in chunk.records]
            position = chunk.next
        assert seen == GOOD[:2]
    assert topics.counted("quarantined_records") == 4
