"""Who is answered when: senders by the logs and queues, logs by the real end; the ledger always by the real end."""

import asyncio

import numpy as np
import pytest
from graph_fakes import FakeDeadLetter

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.graph import outlet as outlet_module
from collector.graph.outlet import LogSink, Outlet
from collector.telemetry.ledger import Account


class FakeQueue:
    def __init__(self, limit=10**9):
        self.limit, self.taken, self.refuse = limit, [], 0

    def has_room(self, size):
        return not self.taken or sum(b.size for b in self.taken) + size <= self.limit

    def offer(self, batch):
        if self.refuse:
            self.refuse -= 1
            return False
        self.taken.append(batch)
        return True

    async def room(self, size):
        while not self.has_room(size):
            await asyncio.sleep(0)


class FakeLog:
    def __init__(self):
        self.appended = []

    def append(self, batch):
        self.appended.append(batch)


@pytest.fixture
def account():
    return Account("traces")


def batch(account, answers, items=3):
    account.accept(items)
    return Batch(b"x" * 10, Ack(lambda o, r: answers.append((o, r))), count=items, account=account)


def test_a_sender_is_answered_when_the_queue_has_it_and_the_ledger_when_it_is_delivered(account):
    queue, answers = FakeQueue(), []
    Outlet(account, [queue], from_log=False).emit(batch(account, answers))
    assert answers == [(Outcome.DELIVERED, "")]
    assert (account.delivered, account.held) == (0, 3)
    queue.taken[0].ack.resolve(Outcome.REJECTED, "bad")
    assert (account.dead_lettered["bad"], account.held, account.imbalance()) == (3, 0, 0)


def test_a_sender_waits_for_every_log_and_not_for_the_queues(account):
    queue, one, two, answers = FakeQueue(), FakeLog(), FakeLog(), []
    Outlet(
        account,
        [LogSink(one, FakeDeadLetter(), "traces"), queue, LogSink(two, FakeDeadLetter(), "traces")],
        from_log=False,
    ).emit(batch(account, answers))
    one.appended[0].ack.resolve(Outcome.DELIVERED)
    assert answers == []
    two.appended[0].ack.resolve(Outcome.RETRY, "log_full")
    assert answers == [(Outcome.RETRY, "log_full")]
    queue.taken[0].ack.resolve(Outcome.DELIVERED)
    assert account.held == 0
    assert account.imbalance() == 0


def test_without_room_a_sender_keeps_everything(account):
    full, other, answers = FakeQueue(limit=5), FakeQueue(), []
    full.taken.append(batch(account, []))
    account.deliver(3)
    Outlet(account, [other, full], from_log=False).emit(batch(account, answers))
    assert answers == [(Outcome.RETRY, "queue_full")]
    assert other.taken == []
    full.taken.pop().ack.resolve(Outcome.DELIVERED)
    assert account.imbalance() == 0


async def test_from_a_log_only_the_sink_that_gave_it_back_is_asked_again(account, monkeypatch):
    monkeypatch.setattr(outlet_module, "RETRY_PAUSE_S", 0.001)
    good, bad, answers = FakeQueue(), FakeQueue(), []
    bad.refuse = 1
    outlet = Outlet(account, [good, bad], from_log=True)
    outlet.emit(batch(account, answers))
    await asyncio.sleep(0.02)
    bad.taken[0].ack.resolve(Outcome.RETRY, "log_full")
    await asyncio.sleep(0.02)
    assert (len(good.taken), len(bad.taken), answers) == (1, 2, [])
    good.taken[0].ack.resolve(Outcome.DELIVERED)
    bad.taken[1].ack.resolve(Outcome.DELIVERED)
    assert answers == [(Outcome.DELIVERED, "")]
    assert (account.delivered, account.held) == (3, 0)


async def test_after_stop_what_comes_back_stays_with_the_log(account):
    queue, answers = FakeQueue(), []
    outlet = Outlet(account, [queue], from_log=True)
    outlet.emit(batch(account, answers))
    outlet.stop()
    queue.taken[0].ack.resolve(Outcome.RETRY, "stopped")
    assert answers == [(Outcome.RETRY, "stopped")]
    assert account.imbalance() == 0


async def test_what_a_log_refuses_for_good_is_in_the_dead_letter_before_anybody_hears(account):
    other, letters, answers = FakeLog(), FakeDeadLetter(refuse=1), []
    outlet = Outlet(account, [LogSink(other, letters, "traces")], from_log=False)
    for outcome, buried in ((Outcome.RETRY, 0), (Outcome.REJECTED, 1)):
        outlet.emit(batch(account, answers))
        other.appended.pop().ack.resolve(Outcome.REJECTED, "too_large")
        assert len(answers) == buried, "not before it is written"
        while len(answers) == buried:
            await asyncio.sleep(0)
        assert answers[-1][0] is outcome
        assert len(letters.letters) == buried
    assert letters.letters == [(b"x" * 10, 3, "traces", "too_large")]
    assert (account.dead_lettered["too_large"], account.held) == (3, 0)


async def test_a_log_that_took_the_others_refuses_its_number_alone(account):
    other, letters, refused = FakeLog(), FakeDeadLetter(), []
    outlet = Outlet(account, [LogSink(other, letters, "traces")], from_log=False)
    account.accept(5)
    ack = Ack.counted(lambda _outcome, _reason, items: refused.append(items))
    outlet.emit(Batch(b"x" * 10, ack, count=5, account=account))
    other.appended.pop().ack.resolve(Outcome.REJECTED, "too_large", 2)
    while not refused:
        await asyncio.sleep(0)
    assert refused == [2]
    assert letters.rejected == [2]
    assert (account.delivered, account.dead_lettered["too_large"], account.held) == (3, 2, 0)


def refuse(sunk, rows, reason):
    sunk.outcomes.note(np.array(rows, bool), Outcome.REJECTED, reason)
    sunk.ack.resolve(Outcome.REJECTED, reason)


def test_an_item_that_two_exporters_refuse_counts_once(account):
    one, two, answers = FakeQueue(), FakeQueue(), []
    Outlet(account, [one, two], from_log=True).emit(batch(account, answers, items=4))
    refuse(one.taken[0], [1, 1, 0, 0], "a")
    assert (account.held, answers) == (4, []), "not before both are done with it"
    refuse(two.taken[0], [0, 1, 1, 0], "b")
    assert (account.delivered, dict(account.dead_lettered), account.held) == (1, {"a": 2, "b": 1}, 0)
    assert answers == [(Outcome.REJECTED, "a")]


def test_from_a_log_what_one_exporter_gives_back_is_to_come_again_whole(account):
    one, two, answers = FakeQueue(), FakeQueue(), []
    outlet = Outlet(account, [one, two], from_log=True)
    outlet.emit(batch(account, answers, items=4))
    outlet.stop()
    refuse(one.taken[0], [1, 1, 0, 0], "a")
    two.taken[0].ack.resolve(Outcome.RETRY, "shutdown")
    assert (account.returned["shutdown"], account.dead_lettered.total(), account.held) == (4, 0, 0)
    assert answers == [(Outcome.RETRY, "shutdown")]


def test_what_a_queue_gives_back_after_its_sender_was_told_ok_is_lost(account):
    queue, answers = FakeQueue(), []
    Outlet(account, [queue], from_log=False).emit(batch(account, answers, items=4))
    queue.taken[0].outcomes.note(np.array([0, 1, 0, 0], bool), Outcome.RETRY, "shutdown")
    queue.taken[0].ack.resolve(Outcome.RETRY, "shutdown")
    assert answers == [(Outcome.DELIVERED, "")]
    assert (account.delivered, dict(account.lost), account.returned.total(), account.held) == (3, {"shutdown": 1}, 0, 0)
