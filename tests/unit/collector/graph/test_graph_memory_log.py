"""The log in memory: bounded, answers at once, frees what is committed."""

import asyncio

import pytest

from collector.ack import Ack, Outcome
from collector.batch import Batch, Context
from collector.graph.memory_log import MemoryLog
from collector.telemetry.ledger import Account
from collector.testing.batches import traces_payload


class Memory:
    def __init__(self, limit=100):
        self.account, self.answers = Account("traces"), []
        self.log = MemoryLog("traces", limit, self.account)

    def put(self, payload, items=3, **more):
        self.account.accept(items)
        ack = Ack(lambda outcome, reason: self.answers.append((outcome, reason)))
        self.log.emit(Batch(payload, ack, count=items, **more))


async def test_a_batch_is_answered_when_it_is_in_and_stays_in_the_books():
    memory = Memory()
    memory.put(b"x" * 10, context=Context("one"))
    assert memory.answers == [(Outcome.DELIVERED, "")]
    assert (memory.account.held, memory.account.delivered) == (3, 0)
    ((record,), after) = (chunk := await memory.log.read(0, 1000)).records, chunk.next
    assert (record.position, record.payload, record.count, record.context) == (0, b"x" * 10, 3, Context("one"))
    assert (after, memory.log.end, memory.log.committed) == (1, 1, 0)


async def test_over_the_budget_a_batch_goes_back_and_is_booked():
    memory = Memory(limit=25)
    memory.put(b"x" * 10)
    memory.put(b"x" * 15)
    memory.put(b"x")
    assert memory.answers == [(Outcome.DELIVERED, "")] * 2 + [(Outcome.RETRY, "memory_full")]
    assert dict(memory.account.returned) == {"memory_full": 3}
    assert (memory.account.held, memory.account.imbalance()) == (6, 0)
    assert (memory.log.size, memory.log.end) == (25, 2)


async def test_one_larger_than_the_budget_is_taken_by_an_empty_log():
    memory = Memory(limit=5)
    memory.put(b"x" * 50)
    memory.put(b"x")
    assert [outcome for outcome, _ in memory.answers] == [Outcome.DELIVERED, Outcome.RETRY]


async def test_committing_makes_room_and_positions_go_on():
    memory = Memory(limit=30)
    for _ in range(3):
        memory.put(b"x" * 10)
    await memory.log.commit(2)
    assert (memory.log.size, memory.log.committed, memory.log.end) == (10, 2, 3)
    memory.put(b"y" * 20)
    assert memory.answers[-1] == (Outcome.DELIVERED, "")
    chunk = await memory.log.read(2, 1000)
    assert [(record.position, record.payload[:1]) for record in chunk.records] == [(2, b"x"), (3, b"y")]
    await memory.log.commit(4)
    assert memory.log.size == 0


@pytest.mark.parametrize(("max_bytes", "count"), [(0, 1), (10, 1), (19, 1), (20, 2), (29, 2), (1000, 3)])
async def test_a_read_keeps_to_its_bytes_but_gives_one(max_bytes, count):
    memory = Memory()
    for _ in range(3):
        memory.put(b"x" * 10)
    chunk = await memory.log.read(0, max_bytes)
    assert (len(chunk.records), chunk.next) == (count, count)


async def test_only_what_is_selected_takes_room():
    memory = Memory(limit=10_000)
    payload = traces_payload(10, 1)
    memory.account.accept(10)
    batch = Batch(payload, Ack(lambda *answer: memory.answers.append(answer)), account=memory.account)
    memory.log.emit(batch.select([row == 0 for row in range(10)], "test"))
    (record,) = (await memory.log.read(0, 1000)).records
    assert record.count == 1
    assert memory.log.size == len(record.payload) < len(payload)


@pytest.mark.parametrize(("size", "pressed"), [(85, False), (86, True)])
def test_pressure_begins_at_its_share(size, pressed):
    memory = Memory(limit=100)
    memory.put(b"x" * size)
    assert memory.log.under_pressure() is pressed


async def test_wait_returns_when_there_is_something():
    memory = Memory()
    waiting = asyncio.create_task(memory.log.wait(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    memory.put(b"x")
    await asyncio.wait_for(waiting, 1)
    second = asyncio.create_task(memory.log.wait(1))
    await asyncio.sleep(0)
    assert not second.done()
    memory.put(b"y")
    await asyncio.wait_for(second, 1)


async def test_time_does_not_go_back_and_the_journal_keeps_nothing():
    memory = Memory()
    for _ in range(5):
        memory.put(b"x")
    times = [record.time_ns for record in (await memory.log.read(0, 100)).records]
    assert times == sorted(times)
    assert memory.log.now_ns() >= times[-1]
    await memory.log.journal(b"verdicts", 1, 1, 1)
    assert list(await memory.log.load_journal()) == []
