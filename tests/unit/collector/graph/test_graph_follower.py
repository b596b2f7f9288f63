"""Processors that go by verdicts: what waits for what, and for how long."""

import logging

import numpy as np
import pytest
from graph_fakes import FakeLog, FakeLookahead

from collector.ack import Ack
from collector.batch import Batch
from collector.component.base import BuildContext
from collector.component.follower import VerdictFollower
from collector.component.trace_board import KEPT, Decided, TraceBoard
from collector.graph.head import Head
from collector.options import Options
from collector.telemetry.ledger import Account
from collector.testing.batches import traces_payload

SECOND = 10**9


class Follower(VerdictFollower):
    """Every byte of a payload is a trace that the record speaks of."""

    def __init__(self):
        self.board = TraceBoard()
        self.board.followed = True
        super().__init__(
            Options(), BuildContext("follower", logging.getLogger("test"), board=self.board), max_wait_ns=10 * SECOND
        )

    def traces_of(self, batch):
        ids = np.frombuffer(batch.payload, np.uint8).astype(np.uint64)
        return np.zeros(len(ids), np.uint64), ids

    def see(self, position, *traces):
        self.observe(Batch(bytes(traces), Ack.ignore(), count=1), position, position + 1, 0)

    def decide(self, *traces):
        self.board.publish(
            Decided(np.zeros(len(traces), np.uint64), np.array(traces, np.uint64), np.ones(len(traces), np.bool_))
        )


def test_records_pass_in_order_once_all_their_traces_are_decided():
    it = Follower()
    it.see(0, 1, 2)
    it.see(1)
    it.see(2, 3)
    assert it.boundary() == 0
    it.decide(3, 1)
    assert it.boundary() == 0
    it.decide(2)
    assert it.boundary() == 3
    it.see(3)
    assert it.boundary() == 4


def test_nothing_waits_longer_than_it_may():
    it = Follower()
    it.see(0, 1)
    it.board.elapsed_ns = 4 * SECOND
    it.see(1, 2)
    it.board.elapsed_ns = 10 * SECOND - 1
    assert it.boundary() == 0
    it.board.elapsed_ns = 10 * SECOND
    assert it.boundary() == 1
    it.board.elapsed_ns = 14 * SECOND
    assert it.boundary() == 2


def test_a_full_log_lets_the_oldest_pass_and_the_end_lets_all():
    it = Follower()
    for position in range(4):
        it.see(position, position + 1)
    it.shed(2)
    assert it.boundary() == 2
    it.decide_all()
    assert it.boundary() == 4


def test_the_head_waits_while_too_much_is_waited_for(monkeypatch):
    monkeypatch.setattr("collector.component.follower.MOST_WAITING", 3)
    it = Follower()
    it.see(0, 1, 2)
    assert it.has_room()
    it.see(1, 3, 4)
    assert not it.has_room()
    it.decide(1, 2)
    assert it.boundary() == 1
    assert it.has_room()


def test_a_record_that_cant_be_read_is_the_tails_to_refuse():
    class Reads(Follower):
        def traces_of(self, batch):
            return batch.index.trace_hi, batch.index.trace_lo

    it = Reads()
    it.observe(Batch(b"\x0a\xff", Ack.ignore()), 0, 1, 0)
    assert it.boundary() == 1


class Deciding(FakeLookahead):
    """Its blobs are read as lists of traces that are kept."""

    @classmethod
    def decided_in(cls, blob):
        ids = np.array(eval(blob), np.uint64)
        return Decided(np.zeros(len(ids), np.uint64), ids, np.ones(len(ids), np.bool_))


@pytest.mark.parametrize("broken", [0, 1])
async def test_verdicts_are_on_the_board_when_they_are_durable_and_not_before(broken, monkeypatch):
    monkeypatch.setattr("collector.graph.head.RETRY_PAUSE_S", 0)
    monkeypatch.setattr("collector.graph.merging.MERGE_BYTES", 1)
    log, board = FakeLog(traces_payload(1), traces_payload(1), traces_payload(1)), TraceBoard()
    board.followed = True
    sampler = Deciding(Options(), BuildContext("sampler", logging.getLogger("test")))
    head = Head(log, [], sampler, Account("traces"), observed=None, allow=lambda _: None, board=board)
    await head.advance()
    log.broken = broken
    sampler.decide(3)
    await head.publish()
    ones = np.zeros(1, np.uint64), np.ones(1, np.uint64)
    assert bool(board.look_up(*ones)[0]) is not bool(broken)
    await head.publish()
    assert board.look_up(*ones)[0] == KEPT


async def test_a_restart_puts_the_journals_verdicts_on_the_board():
    log, board = FakeLog(), TraceBoard()
    board.followed = True
    log.blobs = [(b"[4]", 1, 0)]
    sampler = Deciding(Options(), BuildContext("sampler", logging.getLogger("test")))
    await Head(log, [], sampler, Account("traces"), observed=None, allow=lambda _: None, board=board).restore()
    assert board.look_up(np.zeros(1, np.uint64), np.array([4], np.uint64))[0] == KEPT
