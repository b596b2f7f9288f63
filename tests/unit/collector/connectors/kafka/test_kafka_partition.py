import asyncio
import random
from dataclasses import dataclass

import pytest
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.batch import Signal
from collector.connectors.kafka import partition as partition_module
from collector.connectors.kafka.partition import UNREAD_BYTES, KafkaPartition
from collector.connectors.kafka.reader import OutOfRangeError, UnreadableBatchError
from collector.connectors.kafka.recent import PayloadBudget
from collector.connectors.kafka.stream_time import StreamTime
from collector.errors import OwnershipLostError, StorageError

TP = TopicPartition("spans", 3)
BAD = b"\xff\xff"


@dataclass
class Raw:
    offset: int
    value: bytes | None
    timestamp: int
    headers: tuple = ()
    topic: str = "spans"
    partition: int = 3


def spans(number, size=0):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.spans.add(trace_id=number.to_bytes(16), span_id=b"s" * 8, name="n" * size)
    return request.SerializeToString()


def raw(offset, size=0):
    return Raw(offset, spans(offset + 1, size), 1000 + offset)


class Group:
    def __init__(self):
        self.commits, self.put_aside, self.missing, self.given_up = [], [], [], []
        self.fails = None
        self.quarantine_fails = 0
        self.pauses = 0

    async def commit(self, tp, position):
        assert tp == TP
        if self.fails is not None:
            raise self.fails
        self.commits.append(position)

    async def quarantine(self, record, reason):
        for _ in range(self.pauses):
            await asyncio.sleep(0)
        if self.quarantine_fails:
            self.quarantine_fails -= 1
            raise StorageError("the quarantine is away")
        self.put_aside.append((record.offset, reason))

    def lost_records(self, tp, start, stop, reason):
        assert tp == TP
        self.missing.append((start, stop, reason))

    def lost(self, partition):
        self.given_up.append(partition)

    def sign(self, tp):
        return None


class Reader:
    """The topic: what it holds, from where on."""

    def __init__(self, records):
        self.records, self.first = list(records), 0
        self.reads, self.forgotten, self.damaged, self.away = [], [], set(), False
        self.most = 4
        self.pause = lambda: 0

    async def read(self, tp, position):
        assert tp == TP
        self.reads.append(position)
        for _ in range(self.pause()):
            await asyncio.sleep(0)
        if self.away:
            raise StorageError("away")
        if position < self.first:
            raise OutOfRangeError("gone")
        if position in self.damaged:
            raise UnreadableBatchError("damaged")
        return [each for each in self.records if each.offset >= position][: self.most]

    async def bounds(self, tp):
        return self.first, self.records[-1].offset + 1

    def forget(self, tp):
        self.forgotten.append(tp)


class Journal:
    def __init__(self):
        self.written, self.fails = [], None

    async def append(self, *given):
        if self.fails is not None:
            raise self.fails
        self.written.append(given)

    async def load(self, end):
        return [b"one", b"two", b"%d" % end]


class Fixture:
    def __init__(self, records, *, start=0, recent_bytes=1 << 20):
        self.records = list(records)
        self.group, self.reader, self.journal = Group(), Reader(self.records), Journal()
        self.fed = 0
        self.partition = KafkaPartition(
            TP,
            Signal.TRACES,
            start,
            start,
            journal=self.journal,
            reader=self.reader,
            budget=PayloadBudget(recent_bytes),
            time=StreamTime(),
            group=self.group,
            fed=self.feed,
        )

    def feed(self):
        self.fed += 1

    async def everything(self, position, max_bytes=1 << 20):
        """What a reader at `position` finds up to the end, stumbling over nothing."""
        found = []
        while position < self.partition.end:
            chunk = await self.partition.read(position, max_bytes)
            assert chunk.next > position
            assert all(position <= record.position < chunk.next for record in chunk.records)
            found += chunk.records
            position = chunk.next
        return found


def given_to(fixture):
    fixture.partition.received(fixture.records)
    return fixture


def positions(records):
    return [record.position for record in records]


async def test_the_head_reads_what_the_consumer_gave():
    fixture = given_to(Fixture([raw(0), raw(1), raw(2)]))
    chunk = await fixture.partition.read(0, 1 << 20)
    assert positions(chunk.records) == [0, 1, 2]
    assert chunk.next == fixture.partition.end == 3
    assert [record.time_ns for record in chunk.records] == [10**9, 1001 * 10**6, 1002 * 10**6]
    assert [record.payload for record in chunk.records] == [each.value for each in fixture.records]
    assert fixture.fed == 1


async def test_a_read_stops_before_its_limit_but_gives_one_record():
    fixture = given_to(Fixture([raw(0, 100), raw(1, 100), raw(2, 100)]))
    size = len(fixture.records[0].value)
    assert positions((await fixture.partition.read(0, 1)).records) == [0]
    assert positions((await fixture.partition.read(1, 2 * size)).records) == [1, 2]
    assert positions((await fixture.partition.read(0, 2 * size)).records) == [0, 1]


async def test_the_tail_reads_from_memory_what_the_head_has_read():
    fixture = given_to(Fixture([raw(n) for n in range(5)]))
    fresh = await fixture.everything(0)
    assert await fixture.everything(0) == fresh
    assert fixture.reader.reads == []


async def test_what_memory_no_longer_has_is_fetched_again_and_is_the_same():
    fixture = given_to(Fixture([raw(n) for n in range(20)], recent_bytes=150))
    fresh = await fixture.everything(0, 100)
    assert await fixture.everything(0, 100) == fresh
    assert positions(fresh) == list(range(20))
    assert fixture.reader.reads[0] == 0
    assert fixture.partition._recent.first(-1) > 10


async def test_gaps_in_the_offsets_are_no_loss():
    fixture = given_to(Fixture([raw(2), raw(3), raw(7)]))
    fresh = await fixture.everything(0)
    assert positions(fresh) == [2, 3, 7]
    assert await fixture.everything(0) == fresh
    assert fixture.reader.reads == []
    assert fixture.group.missing == []


async def test_a_marker_at_the_end_of_the_log_holds_up_nobody():
    fixture = given_to(Fixture([raw(0)]))
    await fixture.everything(0)
    fixture.partition.passed(3)
    for _ in range(2):  # the head's reading, and the tail's
        assert (await fixture.partition.read(1, 100)).next == 3
    assert fixture.reader.reads == []
    fixture.reader.records.append(raw(3))
    fixture.partition.received([raw(3)])
    assert positions(await fixture.everything(3)) == [3]
    assert positions(await fixture.everything(3)) == [3]
    assert fixture.reader.reads == []
    assert positions(await fixture.everything(0)) == [0, 3]


async def test_what_is_given_twice_is_taken_once():
    fixture = Fixture([raw(0), raw(1)])
    fixture.partition.received(fixture.records)
    fixture.partition.received([*fixture.records, raw(2)])
    assert positions(await fixture.everything(0)) == [0, 1, 2]


async def test_more_is_wanted_until_enough_waits():
    fixture = Fixture([])
    assert fixture.partition.wants_more
    fixture.partition.received([Raw(0, b"x" * UNREAD_BYTES, 1)])
    assert not fixture.partition.wants_more
    await fixture.partition.read(0, 100)
    assert fixture.partition.wants_more
    assert fixture.fed == 1


async def test_records_that_are_no_telemetry_are_put_aside_and_the_others_read():
    records = [raw(0), Raw(1, BAD, 1), Raw(2, None, 1), raw(3), Raw(4, b"", 1, (("butterfly-signal", b"logs"),))]
    fixture = given_to(Fixture(records))
    fresh = await fixture.everything(0)
    assert positions(fresh) == [0, 3]
    assert fixture.group.put_aside == [(1, "malformed"), (2, "empty"), (4, "wrong_signal")]
    assert await fixture.everything(0) == fresh
    assert fixture.reader.reads == []
    assert len(fixture.group.put_aside) == 3


async def test_a_quarantine_that_is_away_holds_the_head_up_and_loses_nothing():
    fixture = given_to(Fixture([raw(0), Raw(1, BAD, 1), raw(2)]))
    fixture.group.quarantine_fails = 2
    for position in (0, 1):
        with pytest.raises(StorageError):
            await fixture.partition.read(position, 1 << 20)
    assert positions(await fixture.everything(0)) == [0, 2]
    assert fixture.group.put_aside == [(1, "malformed")]


async def test_a_head_that_was_held_up_and_the_tail_read_their_own():
    """Both fetch again at the same time, from different positions."""
    fixture = given_to(Fixture([raw(n) for n in range(12)], recent_bytes=0))
    fresh = await fixture.everything(0)
    fixture.reader.pause = lambda: 3
    one, other = await asyncio.gather(fixture.partition.read(6, 1), fixture.partition.read(0, 1))
    assert positions(one.records) == [6]
    assert positions(other.records) == [0]
    found = await asyncio.gather(fixture.everything(6, 1), fixture.everything(0, 1), fixture.everything(3))
    assert found == [fresh[6:], fresh, fresh[3:]]


async def test_retention_that_overran_the_head_is_counted_exactly():
    fixture = Fixture([raw(10)])
    fixture.partition.skip(10, "retention")
    fixture.partition.received(fixture.records)
    assert positions(await fixture.everything(0)) == [10]
    assert fixture.group.missing == [(0, 10, "retention")]
    fixture.partition.skip(5, "retention")
    assert fixture.group.missing == [(0, 10, "retention")]


async def test_retention_that_overran_the_tail_is_counted_exactly():
    fixture = given_to(Fixture([raw(n) for n in range(10)], recent_bytes=0))
    await fixture.everything(0)
    fixture.reader.first = 6
    fixture.reader.records = fixture.records[6:]
    assert positions(await fixture.everything(2)) == [6, 7, 8, 9]
    assert fixture.group.missing == [(2, 6, "retention")]


async def test_retention_that_overran_what_memory_still_has_is_no_loss():
    fixture = given_to(Fixture([raw(n) for n in range(10)], recent_bytes=4 * len(raw(0).value)))
    await fixture.everything(0)
    fixture.reader.first = 100
    fixture.reader.records = [raw(100)]
    assert positions(await fixture.everything(6)) == [6, 7, 8, 9]
    assert fixture.group.missing == []
    assert positions(await fixture.everything(2)) == [6, 7, 8, 9]
    assert fixture.group.missing == [(2, 6, "retention")]


async def test_damage_is_counted_once_by_head_and_tail():
    fixture = Fixture([raw(0), raw(3)], recent_bytes=0)
    fixture.partition.received([raw(0)])
    fixture.partition.skip(3, "damaged")
    fixture.partition.received([raw(3)])
    fixture.reader.damaged = {1, 2}
    assert positions(await fixture.everything(0)) == [0, 3]
    assert positions(await fixture.everything(0)) == [0, 3]
    assert fixture.group.missing == [(1, 3, "damaged")]


stretches = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(stretches)
def test_whatever_is_missed_is_counted_once(missed):
    async def count():
        fixture = Fixture([])
        for start, length in missed:
            fixture.partition._lose(start, start + length, "retention")
        return [offset for start, stop, _ in fixture.group.missing for offset in range(start, stop)]

    counted = asyncio.run(count())
    assert len(counted) == len(set(counted))
    assert set(counted) == {offset for start, length in missed for offset in range(start, start + length)}


async def test_a_log_that_is_away_is_no_loss():
    fixture = given_to(Fixture([raw(0), raw(1)], recent_bytes=0))
    await fixture.everything(0)
    fixture.reader.away = True
    with pytest.raises(StorageError):
        await fixture.partition.read(0, 100)
    fixture.reader.away = False
    assert positions(await fixture.everything(0)) == [0, 1]
    assert fixture.group.missing == []


async def test_records_that_are_said_to_be_there_and_dont_come_are_an_error_in_time(monkeypatch):
    monkeypatch.setattr(partition_module, "PATIENCE_S", 0.01)
    fixture = Fixture([])
    fixture.partition.grown(1)
    with pytest.raises(StorageError):
        await fixture.partition.read(0, 100)
    fixture.partition.received([raw(0)])
    assert positions(await fixture.everything(0)) == [0]


async def test_waiting_ends_with_a_record():
    fixture = Fixture([raw(0)])
    waiting = [asyncio.create_task(fixture.partition.wait(0)) for _ in range(2)]
    await asyncio.sleep(0)
    fixture.partition.grown(0)
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    given_to(fixture)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_closing_wakes_whoever_waits_and_refuses_everything():
    fixture = Fixture([raw(0)])
    fixture.partition.grown(1)
    waiting = [
        asyncio.create_task(fixture.partition.wait(1)),
        asyncio.create_task(fixture.partition.wait(5)),
        asyncio.create_task(fixture.partition.read(0, 100)),
    ]
    await asyncio.sleep(0)
    fixture.partition.close()
    found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
    assert [type(each) for each in found] == [OwnershipLostError] * 3
    for refused in (fixture.partition.read(0, 1), fixture.partition.commit(1), fixture.partition.journal(b"", 0, 0, 0)):
        with pytest.raises(OwnershipLostError):
            await refused
    assert fixture.reader.forgotten == [TP]
    assert fixture.partition._recent._budget.holders == []


@pytest.mark.parametrize("where", ["quarantine", "reader"])
async def test_closing_while_something_is_under_way_is_an_error_there(where):
    fixture = given_to(Fixture([raw(0), Raw(1, BAD, 1)], recent_bytes=0))
    if where == "reader":
        await fixture.everything(0)
    fixture.group.pauses = 5
    fixture.reader.pause = lambda: 5
    reading = asyncio.create_task(fixture.partition.read(0, 1 << 20))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    fixture.partition.close()
    with pytest.raises(OwnershipLostError):
        await reading


async def test_what_is_committed_is_let_go():
    fixture = given_to(Fixture([raw(n) for n in range(4)]))
    await fixture.everything(0)
    await fixture.partition.commit(3)
    await fixture.partition.commit(3)
    await fixture.partition.commit(1)
    assert fixture.group.commits == [3]
    assert fixture.partition.committed == 3
    assert fixture.partition._recent.first(-1) == 3


async def test_nothing_is_committed_that_was_never_written():
    with pytest.raises(ValueError, match="never written"):
        await given_to(Fixture([raw(0)])).partition.commit(2)


@pytest.mark.parametrize("error", [StorageError("away"), OwnershipLostError("given away")])
async def test_a_commit_that_failed_is_not_committed(error):
    fixture = given_to(Fixture([raw(0)]))
    await fixture.everything(0)
    fixture.group.fails = error
    with pytest.raises(type(error)):
        await fixture.partition.commit(1)
    assert fixture.partition.committed == 0
    # Another owns it: the group takes it over anew, unless it has moved on. A log that is away keeps its owner.
    assert fixture.group.given_up == ([fixture.partition] if isinstance(error, OwnershipLostError) else [])
    assert fixture.partition._recent.first(-1) == 0


async def test_verdicts_go_to_the_journal_with_the_committed_position():
    fixture = given_to(Fixture([raw(0)], start=0))
    await fixture.partition.commit(1)
    await fixture.partition.journal(b"verdicts", 7, 1, 100)
    assert fixture.journal.written == [(b"verdicts", 7, 1, 100, 1)]
    assert await fixture.partition.load_journal() == [b"one", b"two", b"1"]


async def test_a_journal_that_another_writes_loses_the_partition():
    fixture = Fixture([])
    fixture.journal.fails = OwnershipLostError("another's")
    with pytest.raises(OwnershipLostError):
        await fixture.partition.journal(b"", 1, 0, 0)
    assert fixture.group.given_up == [fixture.partition]


async def test_a_journal_that_is_away_loses_nothing():
    fixture = Fixture([])
    fixture.journal.fails = StorageError("away")
    with pytest.raises(StorageError):
        await fixture.partition.journal(b"", 1, 0, 0)
    assert fixture.group.given_up == []


def log_with_everything(rng, count):
    """Records with gaps between them; some are no telemetry."""
    offset, records = 0, []
    for _ in range(count):
        offset += rng.choice([0, 0, 0, 0, 1, 4])
        records.append(Raw(offset, BAD, 1000 + offset) if rng.random() < 0.15 else raw(offset, rng.randrange(60)))
        offset += 1
    return records


async def reads_with_interruptions(seed):
    """Head and tail read side by side; reads are cancelled at any await and repeated."""
    rng = random.Random(seed)
    records = log_with_everything(rng, 60)
    fixture = Fixture(records, recent_bytes=rng.choice([0, 200, 800, 1 << 20]))
    fixture.reader.most = rng.randint(1, 9)
    fixture.reader.pause = lambda: rng.randrange(4)
    fixture.group.pauses = 2
    partition, end = fixture.partition, records[-1].offset + 1
    read = {"head": [], "tail": []}
    upto = {"head": 0, "tail": 0}

    async def feed():
        rest = list(records)
        while rest:
            some = rng.randint(1, 8)
            partition.received(rest[:some])
            del rest[:some]
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(0)

    async def follow(name):
        while upto[name] < end:
            if name == "tail" and upto["tail"] >= upto["head"]:
                await asyncio.sleep(0)
                continue
            fixture.group.quarantine_fails = rng.random() < 0.1
            task = asyncio.create_task(partition.read(upto[name], rng.choice([1, 100, 1000])))
            for _ in range(rng.choice([1, 2, 5, 50])):
                await asyncio.sleep(0)
                if task.done():
                    break
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, StorageError | asyncio.CancelledError):
                continue
            assert result.next > upto[name]
            read[name] += result.records
            upto[name] = result.next
            if name == "tail" and rng.random() < 0.2:
                await partition.commit(upto["tail"])

    await asyncio.gather(feed(), follow("head"), follow("tail"))
    return fixture, read


@pytest.mark.parametrize("seed", range(60))
async def test_reads_that_were_cancelled_and_repeated_give_every_record_once(seed):
    fixture, read = await reads_with_interruptions(seed)
    good = [each for each in fixture.records if each.value != BAD]
    for found in read.values():
        assert [(record.position, record.payload) for record in found] == [(each.offset, each.value) for each in good]
    assert read["head"] == read["tail"]
    assert {offset for offset, _ in fixture.group.put_aside} == {
        each.offset for each in fixture.records if each.value == BAD
    }
    assert fixture.group.missing == []
