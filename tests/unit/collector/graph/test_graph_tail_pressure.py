"""While nothing takes what the tail has, it reads nothing more: memory doesn't fill with what can't go anywhere."""

import asyncio
import logging

import pytest
from graph_fakes import FakeDeadLetter

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.component.base import BuildContext
from collector.component.processor import Processor
from collector.errors import StorageError
from collector.graph import merging
from collector.graph import outlet as outlet_module
from collector.graph import tail as tail_module
from collector.graph.memory_log import MemoryLog
from collector.graph.outlet import LogSink, Outlet
from collector.graph.runner import PartitionRunner
from collector.options import Options
from collector.telemetry.ledger import Account


class Broken(Processor):
    def process(self, batch):
        raise RuntimeError


class Letters:
    def __init__(self):
        self.full, self.asked, self.items = True, 0, 0

    async def write(self, batch, _pipeline, _reason):
        self.asked += 1
        await asyncio.sleep(0)
        if self.full:
            raise StorageError("full")
        self.items += len(batch)


class RefusingLog:
    """The log of another connector, out of room: three batches may wait for the answer, more are given back at once."""

    def __init__(self):
        self.full, self.waiting, self.items = True, [], 0

    def append(self, batch):
        if len(self.waiting) < 3:
            self.waiting.append(batch)
        else:
            batch.ack.resolve(Outcome.RETRY, "log_busy")

    def answer(self):
        waiting, self.waiting = self.waiting, []
        for batch in waiting:
            self.items += 0 if self.full else len(batch)
            batch.ack.resolve(Outcome.RETRY if self.full else Outcome.DELIVERED, "log_full" if self.full else "")


class Watched(MemoryLog):
    reads = 0

    async def read(self, position, max_bytes):
        self.reads += 1
        return await super().read(position, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tail_module, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr(outlet_module, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr(merging, "MERGE_BYTES", 1)


def full_log(account, records=50):
    log = Watched("traces", 1 << 20, account)
    account.accept(records)
    for _ in range(records):
        log.emit(Batch(b"span", Ack.ignore(), count=1))
    return log


def runner_of(log, account, processors, sink, letters=None):
    outlet = Outlet(account, [sink], from_log=True)
    return PartitionRunner(log, processors, outlet, account, letters, fatal=pytest.fail, books_accepted=False)


async def settle():
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_dead_letter_that_takes_nothing_stops_the_tail():
    account, letters = Account("traces"), Letters()
    log = full_log(account)
    broken = Broken(Options(), BuildContext("broken", logging.getLogger("test")))
    runner = runner_of(log, account, [broken], LogSink(RefusingLog(), FakeDeadLetter(), "traces"), letters)
    await runner.start()
    await settle()
    assert letters.asked > 10
    assert log.reads <= 2
    letters.full = False
    await settle()
    await settle()
    await runner.stop(1)
    assert (letters.items, account.held, runner.tail.watermark.position) == (50, 0, 50)


async def test_what_waits_for_the_dead_letter_at_the_end_stays_in_the_log():
    account, letters = Account("traces"), Letters()
    log = full_log(account)
    broken = Broken(Options(), BuildContext("broken", logging.getLogger("test")))
    runner = runner_of(log, account, [broken], LogSink(RefusingLog(), FakeDeadLetter(), "traces"), letters)
    await runner.start()
    await settle()
    await runner.stop(1)
    assert runner.tail.watermark.outstanding == 0
    assert log.committed == 0
    assert account.returned["stopped"] == 1


async def test_a_log_that_gives_batches_back_stops_the_tail():
    account, other = Account("traces"), RefusingLog()
    log = full_log(account)
    runner = runner_of(log, account, [], LogSink(other, FakeDeadLetter(), "traces"))
    await runner.start()
    for _ in range(20):
        await settle()
        other.answer()
    assert log.reads <= 5
    other.full = False
    while other.items < 50:
        other.answer()
        await settle()
    await runner.stop(1)
    assert (account.delivered, account.held, runner.tail.watermark.position) == (50, 0, 50)


async def test_the_dead_letter_takes_what_a_log_in_memory_cannot_send_at_the_end():
    """Its senders were told that the data is safe, and no next life will read it."""
    account, letters = Account("traces"), Letters()
    letters.full = False
    log = full_log(account)

    class NoRoom:
        def has_room(self, _size):
            return False

        async def room(self, _size):
            await asyncio.sleep(3600)

        def offer(self, _batch):
            return False

    outlet = Outlet(account, [NoRoom()], from_log=True)
    runner = PartitionRunner(log, [], outlet, account, letters, fatal=pytest.fail, books_accepted=False, final=True)
    await runner.start()
    await settle()
    await runner.stop(0.4)
    assert (letters.items, account.held) == (50, 0)
    assert dict(account.dead_lettered) == {"shutdown": 50}
