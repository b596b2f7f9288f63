"""Processors in a row: batches flow on, emptied ones are answered, a failing one hurts its batch alone."""

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.component.base import BuildContext
from collector.component.processor import Processor
from collector.graph.chain import Chain, give_back
from collector.options import Options
from collector.telemetry.ledger import Account


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
