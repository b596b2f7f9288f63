import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaConnectionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import TopicPartition

from collector.connectors.kafka import damage as damage_module
from collector.connectors.kafka import reader as reader_module
from collector.connectors.kafka.reader import LogReader, OutOfRangeError, UnreadableBatchError
from collector.errors import StorageError

TP, OTHER = TopicPartition("spans", 0), TopicPartition("spans", 1)


class Topic:
    """The brokers, and every consumer that was made."""

    def __init__(self, count=10):
        self.offsets = {TP: list(range(count)), OTHER: list(range(count))}
        self.first, self.damaged = 0, set()
        self.start_fails, self.poll_fails, self.made = [], [], []
        self.silent = False

    def __call__(self, **arguments):
        assert arguments["group_id"] is None
        assert arguments["auto_offset_reset"] == "none"
        self.made.append(Consumer(self))
        return self.made[-1]


class Consumer:
    def __init__(self, topic):
        self.topic, self.positions, self.seeks, self.stopped, self.most = topic, {}, [], False, 3
        self._fetcher = None

    async def start(self):
        await asyncio.sleep(0)
        if self.topic.start_fails:
            raise self.topic.start_fails.pop(0)

    async def stop(self):
        self.stopped = True

    def assign(self, tps):
        self.positions = dict.fromkeys(tps)

    def seek(self, tp, position):
        if tp not in self.positions:
            raise IllegalStateError("not assigned")
        self.seeks.append((tp, position))
        self.positions[tp] = position

    async def getmany(self, tp, timeout_ms=0, max_records=100):
        await asyncio.sleep(0)
        if tp not in self.positions:
            raise IllegalStateError("not assigned")
        if self.topic.poll_fails:
            raise self.topic.poll_fails.pop(0)
        at = self.positions[tp]
        if at < self.topic.first:
            raise OffsetOutOfRangeError({tp: at})
        found = [] if self.topic.silent else [each for each in self.topic.offsets[tp] if each >= at]
        records = []
        for offset in found[: min(self.most, max_records)]:
            if offset in self.topic.damaged:
                raise CorruptRecordException
            records.append(SimpleNamespace(offset=offset, value=b"x"))
        if records:
            self.positions[tp] = records[-1].offset + 1
        else:
            await asyncio.sleep(0.002)
        return {tp: records} if records else {}

    async def beginning_offsets(self, tps):
        if self.topic.poll_fails:
            raise self.topic.poll_fails.pop(0)
        return dict.fromkeys(tps, self.topic.first)

    async def end_offsets(self, tps):
        return {tp: self.topic.offsets[tp][-1] + 1 for tp in tps}


@pytest.fixture
def topic(monkeypatch):
    topic = Topic()
    monkeypatch.setattr(reader_module, "AIOKafkaConsumer", topic)
    monkeypatch.setattr(reader_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(damage_module, "POLL_MS", 1)
    return topic


@pytest.fixture
async def reader(topic):
    reader = LogReader({})
    yield reader
    await reader.stop()
    assert all(each.stopped for each in topic.made)


def offsets(records):
    return [record.offset for record in records]


async def test_any_position_is_read_over_one_connection(reader, topic):
    assert offsets(await reader.read(TP, 4)) == [4, 5, 6]
    assert offsets(await reader.read(OTHER, 0)) == [0, 1, 2]
    assert offsets(await reader.read(TP, 1)) == [1, 2, 3]
    assert len(topic.made) == 1


async def test_reading_on_seeks_nothing(reader, topic):
    await reader.read(TP, 0)
    topic.made[0].seeks.clear()
    assert offsets(await reader.read(TP, 3)) == [3, 4, 5]
    assert topic.made[0].seeks == []


async def test_a_new_partition_moves_no_other(reader):
    await reader.read(TP, 0)
    await reader.read(OTHER, 5)
    assert offsets(await reader.read(TP, 3)) == [3, 4, 5]
    reader.forget(OTHER)
    assert offsets(await reader.read(TP, 6)) == [6, 7, 8]


async def test_what_was_forgotten_is_read_again(reader):
    await reader.read(TP, 0)
    reader.forget(TP)
    reader.forget(TP)
    assert offsets(await reader.read(TP, 0)) == [0, 1, 2]


async def test_many_readers_at_once_each_get_their_own(reader):
    asked = [(tp, position) for position in range(7) for tp in (TP, OTHER)]
    found = await asyncio.gather(*(reader.read(tp, position) for tp, position in asked))
    assert [offsets(each)[0] for each in found] == [position for _, position in asked]


async def test_forgetting_one_while_another_is_read_disturbs_nothing(reader):
    await reader.read(OTHER, 0)
    reading = asyncio.create_task(reader.read(TP, 5))
    await asyncio.sleep(0)
    reader.forget(OTHER)
    assert offsets(await reading) == [5, 6, 7]


async def test_a_range_has_every_record_and_none_beyond(reader, topic):
    topic.offsets[TP] = [0, 2, 3, 7, 8, 9, 15]
    assert offsets(await reader.range(TP, 2, 9)) == [2, 3, 7, 8]
    assert offsets(await reader.range(TP, 10, 15)) == []
    assert await reader.range(TP, 5, 5) == []


async def test_a_position_that_is_gone_says_so_and_the_next_is_read(reader, topic):
    topic.first = 4
    for _ in range(2):
        with pytest.raises(OutOfRangeError):
            await reader.read(TP, 2)
    assert offsets(await reader.read(TP, 4)) == [4, 5, 6]
    assert await reader.bounds(TP) == (4, 10)


async def test_records_before_damage_are_given_and_the_damage_is_told(reader, topic):
    topic.damaged = {2}
    assert offsets(await reader.read(TP, 0)) == [0, 1]
    with pytest.raises(UnreadableBatchError):
        await reader.read(TP, 2)
    assert offsets(await reader.read(TP, 3)) == [3, 4, 5]


@pytest.mark.parametrize("error", [KafkaConnectionError(), ConsumerStoppedError(), OSError()])
async def test_a_read_that_fails_is_tried_again_from_where_it_was(reader, topic, error):
    await reader.read(TP, 0)
    topic.poll_fails = [error]
    with pytest.raises(StorageError):
        await reader.read(TP, 3)
    assert offsets(await reader.read(TP, 3)) == [3, 4, 5]


async def test_a_record_that_doesnt_come_is_an_error_in_time(reader, topic):
    topic.silent = True
    with pytest.raises(StorageError):
        await reader.read(TP, 0, patience_s=0.01)
    topic.silent = False
    assert offsets(await reader.read(TP, 0)) == [0, 1, 2]


@pytest.mark.parametrize("damaged", [set(), {5}])
async def test_a_read_that_was_cancelled_is_repeated_from_where_it_was(reader, topic, damaged):
    topic.damaged = damaged
    await reader.read(TP, 0)
    for turns in range(8):
        topic.made[0].most = 3
        await reader.read(TP, 0)
        reading = asyncio.create_task(reader.read(TP, 3))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        topic.made[0].most = 1
        assert offsets(await reader.read(TP, 3)) == [3]


@pytest.mark.parametrize("error", [KafkaConnectionError(), OSError(), TimeoutError()])
async def test_no_connection_is_an_error_and_the_next_read_tries_again(reader, topic, error):
    topic.start_fails = [error]
    with pytest.raises(StorageError):
        await reader.read(TP, 0)
    assert topic.made[0].stopped
    assert offsets(await reader.read(TP, 0)) == [0, 1, 2]


async def test_a_consumer_that_fetches_no_more_is_replaced(reader, topic):
    await reader.read(OTHER, 0)
    topic.silent = True
    ended = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    topic.made[0]._fetcher = SimpleNamespace(error_future=ended)
    with pytest.raises(StorageError):
        await reader.read(TP, 0, patience_s=0.02)
    assert topic.made[0].stopped
    topic.silent = False
    assert offsets(await reader.read(TP, 0)) == [0, 1, 2]
    assert offsets(await reader.read(OTHER, 3)) == [3, 4, 5]
    assert len(topic.made) == 2


async def test_bounds_that_cant_be_had_are_an_error(reader, topic):
    await reader.bounds(TP)
    topic.poll_fails = [KafkaConnectionError()]
    with pytest.raises(StorageError):
        await reader.bounds(TP)


async def test_stopping_without_a_connection_is_fine(topic):
    await LogReader({}).stop()
    assert topic.made == []
