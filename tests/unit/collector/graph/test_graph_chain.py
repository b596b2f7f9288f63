"""Processors in a row: batches flow on, emptied ones are answered, a failing one hurts its batch alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from graph_fakes import FakeDeadLetter

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.component.base import BuildContext
from collector.component.processor import Processor
from collector.graph.chain import Chain, give_back
from collector.graph.outlet import LogSink, Outlet
from collector.options import Options
from collector.telemetry.ledger import Account
from collector.testing.batches import traces_batch


def processor(cls):
    import logging

    return cls(Options(), BuildContext(cls.__name__.lower(), logging.getLogger("test")))


class Hold(Processor):
    def __init__(self, *args):
        super().__init__(*args)
        self.held = []

    def process(self, batch):
        self.held.append(batch)
        return ()

    def tick(self, now_ns):
        return self.drain() if now_ns > 10 else ()

    def drain(self):
        held, self.held = self.held, []
        return held


class Upper(Processor):
    def process(self, batch):
        return (batch.replace(batch.payload.upper(), count=len(batch)),)


class Empty(Processor):
    def process(self, batch):
        return (batch.replace(b"", count=0, reason="emptied"),)


class Boom(Processor):
    def process(self, batch):
        if batch.payload == b"BOOM":
            raise RuntimeError("do not show this: BOOM")
        return (batch,)


def make(*classes):
    account = Account("traces")
    return Chain([processor(each) for each in classes], give_back(account)), account


def batch(account, payload, answers):
    account.accept(1)
    return Batch(payload, Ack(lambda o, r: answers.append((o, r))), count=1, account=account)


def test_held_batches_go_on_through_the_rest_when_time_passes():
    chain, account = make(Hold, Upper)
    answers = []
    assert chain.push(batch(account, b"a", answers)) == []
    assert chain.tick(5) == []
    (out,) = chain.tick(11)
    assert out.payload == b"A"
    out.ack.resolve(Outcome.DELIVERED)
    assert answers == [(Outcome.DELIVERED, "")]


def test_drain_gives_what_is_held():
    chain, account = make(Upper, Hold)
    chain.push(batch(account, b"a", []))
    (drained,) = chain.drain()
    assert drained.payload == b"A"
    drained.ack.resolve(Outcome.DELIVERED)


def test_an_emptied_batch_is_answered_filtered_and_booked():
    chain, account = make(Empty, Upper)
    answers = []
    assert chain.push(batch(account, b"a", answers)) == []
    assert answers == [(Outcome.FILTERED, "")]
    assert (account.filtered["emptied"], account.held, account.imbalance()) == (1, 0, 0)


def test_a_failing_processor_gives_its_batch_back_and_quotes_nothing(caplog):
    chain, account = make(Upper, Boom)
    answers = []
    assert chain.push(batch(account, b"boom", answers)) == []
    (good,) = chain.push(batch(account, b"fine", answers))
    good.ack.resolve(Outcome.DELIVERED)
    assert answers == [(Outcome.RETRY, "boom_failed"), (Outcome.DELIVERED, "")]
    assert "do not show" not in caplog.text
    assert "RuntimeError" in caplog.text
    account.deliver(1)
    assert account.imbalance() == 0


class Books(Processor):
    """Removes everything, then fails."""

    def process(self, batch):
        batch.select(np.zeros(batch.index.count, bool), "void")
        raise RuntimeError


class Divides(Processor):
    def process(self, batch):
        self.halves = batch.split(np.ones(batch.index.count, bool))
        raise RuntimeError


class Keeps(Hold):
    """Holds the batch, and fails all the same."""

    def process(self, batch):
        super().process(batch)
        raise RuntimeError


@pytest.mark.parametrize("cls", [Books, Divides])
def test_what_a_processor_did_before_it_failed_is_void(cls):
    chain, account = make(cls)
    answers = []
    account.accept(10)
    assert chain.push(traces_batch(10, ack=Ack(lambda o, r: answers.append((o, r))), account=account)) == []
    reason = f"{cls.__name__.lower()}_failed"
    assert answers == [(Outcome.RETRY, reason)]
    assert (dict(account.filtered), dict(account.returned), account.held) == ({}, {reason: 10}, 0)
    for half in getattr(chain.processors[0], "halves", ()):
        half.ack.resolve(Outcome.DELIVERED)
    assert len(answers) == 1


def test_a_batch_that_was_answered_is_not_sent_as_well(caplog):
    chain, account = make(Keeps)
    answers, sink = [], []
    assert chain.push(batch(account, b"a", answers)) == []
    assert answers == [(Outcome.RETRY, "keeps_failed")]
    (late,) = chain.tick(11)
    Outlet(account, [LogSink(SimpleNamespace(append=sink.append), FakeDeadLetter(), "traces")], from_log=False).emit(
        late
    )
    assert (sink, len(answers)) == ([], 1)
    assert "answered for before" in caplog.text
