"""What processors remember over a restart: exact after a crash at any moment, committed at no other position."""

import asyncio
import logging
import random
from collections import deque

import pytest
from graph_fakes import FakeDeadLetter, FakeLog, FakeLookahead, FakeOutlet, made, turns

from collector.ack import Outcome
from collector.component.connector import Partition
from collector.component.processor import Stateful
from collector.errors import OwnershipLostError
from collector.graph import merging as merging_module
from collector.graph import runner as runner_module
from collector.graph import states as states_module
from collector.graph.journal import SharedJournal
from collector.graph.runner import PartitionRunner
from collector.graph.states import MAGIC, States
from collector.telemetry.ledger import Account


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(merging_module, "MERGE_BYTES", 1)
    monkeypatch.setattr(Partition, "pace_s", 0)
    monkeypatch.setattr(runner_module, "COMMIT_EVERY_S", 0)


class Adding(Stateful):
    """Adds up what passes, which is a number each."""

    total = 0

    def process(self, batch):
        self.total += int(batch.payload)
        return (batch,)

    def snapshot(self):
        return b"%d" % self.total

    def restore(self, blob):
        self.total = int(blob)


class Large(Adding):
    """Has a state of several parts."""

    def snapshot(self):
        return b"%d " % self.total + b"x" * 1000

    def restore(self, blob):
        self.total = int(blob.split()[0])


class Pieces(Large):
    """Hands its state over in pieces that lie across the parts, an empty one among them."""

    def snapshot(self):
        whole = super().snapshot()
        return [whole[:1], b"", whole[1:290], whole[290:900], whole[900:]]


class Log(FakeLog):
    """Whose journal forgets as the contract allows, and which can be read by a next life."""

    def __init__(self, *payloads):
        super().__init__(*payloads)
        self.dropped = 0

    async def journal(self, blob, count, head, keep):
        await asyncio.sleep(0)
        await super().journal(blob, count, head, keep)
        while self.blobs and self.blobs[0][2] <= self.mark and sum(c for _, c, _ in self.blobs[1:]) >= keep:
            self.blobs.pop(0)
            self.dropped += 1


class Life:
    def __init__(self, log, *processors, **options):
        self.account = Account("metrics")
        self.outlet = FakeOutlet(self.account)
        self.runner = PartitionRunner(
            log, processors, self.outlet, self.account, FakeDeadLetter(), fatal=lambda _: None, **options
        )


async def test_a_clean_stop_goes_on_where_it_was():
    log = Log(b"1", b"2", b"4")
    adding = made(Adding)
    life = Life(log, adding)
    await life.runner.start()
    await turns()
    life.outlet.answer()
    await life.runner.stop(1)
    assert (adding.total, log.mark) == (7, 3)
    log.append(b"8")
    again = made(Adding)
    life = Life(log, again)
    await life.runner.start()
    assert again.total == 7
    await turns()
    assert again.total == 15
    life.outlet.answer()
    await life.runner.stop(1)


async def test_what_is_in_flight_when_the_state_is_taken_is_not_counted_twice():
    log = Log(b"1", b"2", b"4")
    life = Life(log, made(Adding))
    await life.runner.start()
    await turns()
    life.outlet.taken[0].ack.resolve(Outcome.DELIVERED)
    await turns()
    # three were processed, one was answered: a state at 3 is durable, and nothing is committed
    assert (log.mark, len(log.blobs)) == (0, 1)
    await life.runner._cancel()
    again = made(Adding)
    next_life = Life(log, again)
    await next_life.runner.start()
    assert again.total == 0
    await turns()
    assert again.total == 7
    next_life.outlet.answer()
    await next_life.runner.stop(1)
    assert log.mark == 3
    for batch in life.outlet.taken[1:]:
        batch.ack.resolve(Outcome.RETRY)


async def test_only_positions_with_a_state_are_committed(monkeypatch):
    monkeypatch.setattr(states_module, "BYTES_PER_S", 0.001)
    log = Log(b"1")
    life = Life(log, made(Adding))
    await life.runner.start()
    await turns()
    life.outlet.answer()
    await turns()
    assert log.commits == [1]
    log.append(b"2", b"4")
    await turns()
    life.outlet.answer()
    await turns()
    assert log.commits == [1]  # the next state isn't due for long
    await life.runner.stop(1)
    assert log.commits == [1, 3]


@pytest.mark.parametrize("kind", [Large, Pieces])
@pytest.mark.parametrize("seed", range(12))
async def test_sums_are_exact_after_crashes_anywhere(seed, kind, monkeypatch):
    monkeypatch.setattr(states_module, "PART_BYTES", 300)
    monkeypatch.setattr(states_module, "BYTES_PER_S", 1e9)
    draw = random.Random(seed)
    log, before = Log(), []
    for _ in range(12):
        adding = made(kind)
        life = Life(log, adding)
        await life.runner.start()
        assert adding.total == sum(map(int, log.payloads[: log.mark]))
        for _ in range(draw.randrange(12)):
            log.append(*[b"%d" % draw.randrange(1 << 40) for _ in range(draw.randrange(4))])
            await turns(draw.randrange(1, 25))
            if draw.random() < 0.5:
                life.outlet.answer()
            log.broken = draw.random() < 0.2
        await life.runner._cancel()
        before.append(life)
    adding = made(kind)
    life = Life(log, adding)
    log.broken = 0
    await life.runner.start()
    for _ in range(20):
        await turns()
        life.outlet.answer()
    await life.runner.stop(1)
    for each in before:
        each.outlet.answer()
    assert (adding.total, log.mark) == (sum(map(int, log.payloads)), len(log.payloads))
    assert log.dropped > 0


def states(log, *processors, now=lambda: 0.0, keep=0):
    return States("0", log.committed, processors, SharedJournal(log), keep=keep, now=now)


@pytest.mark.parametrize("size", [1, 299, 300, 301, 599, 600, 601, 3000])
@pytest.mark.parametrize("step", [1, 7, 300, 1000, 5000])
def test_parts_are_full_whatever_the_pieces_are(size, step, monkeypatch):
    monkeypatch.setattr(states_module, "PART_BYTES", 300)
    whole = bytes(at % 251 for at in range(size))
    pieces = deque(whole[at : at + step] for at in range(0, size, step))
    parts = list(states_module._parts(pieces))
    assert b"".join(parts) == whole
    assert [len(part) for part in parts[:-1]] == [300] * ((size - 1) // 300)
    assert 0 < len(parts[-1]) <= 300
    assert not pieces


async def test_a_state_that_is_not_whole_is_none(monkeypatch):
    monkeypatch.setattr(states_module, "PART_BYTES", 300)
    log = Log(b"1", b"2")
    adding = made(Large)
    adding.total = 3
    assert await states(log, adding).committable(2, 2) == 2
    assert len(log.blobs) == 4
    log.mark = 2
    for missing in range(4):
        log_without = Log(b"1", b"2")
        log_without.mark = 2
        log_without.blobs = log.blobs[:missing] + log.blobs[missing + 1 :]
        again = made(Large)
        await states(log_without, again).restore()
        assert again.total == 0
    log.blobs[1] = (log.blobs[1][0][:-1] + b"y", 1, 3)
    again = made(Large)
    await states(log, again).restore()
    assert again.total == 0


async def test_of_two_states_of_one_position_the_later_counts():
    log = Log(b"1", b"2")
    for total in (5, 6):
        adding = made(Adding)
        adding.total = total
        assert await states(log, adding).committable(2, 2) == 2
    log.mark = 2
    again = made(Adding)
    await states(log, again).restore()
    assert again.total == 6


async def test_a_later_state_than_what_is_committed_is_not_used():
    log = Log(b"1", b"2")
    keeper = states(log, adding := made(Adding), now=iter(range(100)).__next__)
    adding.total = 1
    assert await keeper.committable(1, 1) == 1
    log.mark = 1
    adding.total = 3
    assert await keeper.committable(2, 1) == 1
    again = made(Adding)
    await states(log, again).restore()
    assert again.total == 1


async def test_an_older_state_is_better_than_none(caplog):
    log = Log(b"1", b"2", b"4")
    adding = made(Adding)
    adding.total = 1
    await states(log, adding).committable(1, 1)
    log.mark = 2
    again = made(Adding)
    await states(log, again).restore()
    assert again.total == 1
    assert "as old as position 1, and 2 is committed" in caplog.text


async def test_a_state_that_cant_be_read_is_said_and_left(caplog):
    class Odd(Adding):
        def snapshot(self):
            return b"odd"

        def restore(self, blob):
            raise ValueError("another release wrote it")

    log = Log(b"1")
    await states(log, made(Odd, "odd")).committable(1, 1)
    log.mark = 1
    await states(log, made(Odd, "odd")).restore()
    assert "processor odd begins anew, its state can't be read: another release wrote it" in caplog.text


async def test_a_log_that_takes_no_state_is_committed_without_after_a_while(caplog):
    log, time = Log(b"1", b"2"), [0.0]
    log.broken = 1000
    keeper = states(log, made(Adding), now=lambda: time[0])
    assert await keeper.committable(1, 1) == 0
    time[0] = states_module.PATIENCE_S - 1
    assert await keeper.committable(1, 1) == 0
    time[0] += 2
    assert await keeper.committable(2, 1) == 1
    assert "committed without the state of processors: the disk is full" in caplog.text
    log.broken = 0
    time[0] += 1
    assert await keeper.committable(2, 2) == 2


async def test_ownership_that_is_lost_while_a_state_is_written_is_told():
    class Lost(Log):
        async def journal(self, blob, count, head, keep):
            raise OwnershipLostError("another's")

    with pytest.raises(OwnershipLostError):
        await states(Lost(b"1"), made(Adding)).committable(1, 1)


async def test_verdicts_and_states_share_a_journal(caplog):
    caplog.set_level(logging.ERROR)

    class Ahead(FakeLookahead):
        journal_entries = 7

        def process(self, batch):
            return (batch,)

    log = Log(b"1", b"2")
    ahead = made(Ahead)
    life = Life(log, ahead, made(Adding))
    await life.runner.start()
    await turns()
    ahead.decide(2)
    await life.runner.tick()
    await turns()
    life.outlet.answer()
    await life.runner.stop(1)
    kinds = [blob.startswith(MAGIC) for blob, _, _ in log.blobs]
    assert sorted(set(kinds)) == [False, True]
    ahead, adding = made(Ahead), made(Adding)
    life = Life(log, ahead, adding)
    await life.runner.start()
    assert ahead.restored == [b"[0, 1]"]
    assert adding.total == 3
    await life.runner.stop(1)


async def test_states_count_as_no_verdicts():
    log = Log(b"1", b"2")
    await states(log, made(Large), keep=1000).committable(1, 1)
    assert [(count, head) for _, count, head in log.blobs] == [(0, 2)]


async def test_one_entry_at_a_time():
    log = Log()
    log.journal_gate = asyncio.Event()
    order = deque()
    journal = SharedJournal(log)

    async def write(name):
        await journal.append(name, 1, 1, 0)
        order.append(name)

    first, second = asyncio.create_task(write(b"a")), asyncio.create_task(write(b"b"))
    await turns()
    assert log.blobs == []
    log.journal_gate.set()
    await asyncio.gather(first, second)
    assert list(order) == [b"a", b"b"]


async def test_a_log_that_is_final_keeps_no_state():
    log = Log(b"1")
    life = Life(log, made(Adding), final=True)
    await life.runner.start()
    await turns()
    life.outlet.answer()
    await life.runner.stop(1)
    assert (log.mark, log.blobs) == (1, [])


class Told(Adding):
    """Remembers which of its states a restart would begin with."""

    def __init__(self, *args):
        super().__init__(*args)
        self.taken, self.known = [], []

    def snapshot(self):
        self.taken.append(self.total)
        return super().snapshot()

    def kept(self, snapshots):
        self.known.append(self.taken[snapshots - 1])


async def test_a_processor_is_told_what_a_restart_would_begin_with():
    log = Log(*(b"%d" % number for number in (1, 2, 4, 8)))
    told = made(Told)
    life = Life(log, told)
    await life.runner.start()
    for _ in range(50):
        await turns(20)
        life.outlet.answer()
    assert told.known == sorted(told.known)
    assert told.known[-1] == 15
    await life.runner.stop(1)
    again = made(Told)
    await Life(log, again).runner.start()
    assert again.total == told.known[-1]
