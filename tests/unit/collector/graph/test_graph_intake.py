"""From threads into the loop: admission is exact, small requests join, every request is answered once."""

import asyncio
import threading

import pytest

from collector.ack import Outcome
from collector.batch import Context, Signal
from collector.errors import Overloaded
from collector.graph import intake as intake_module
from collector.graph.admission import Admission
from collector.graph.intake import PipelineIntake


class Pipeline:
    guards = ()

    def __init__(self):
        self.batches = []

    def accept(self, batch):
        self.batches.append(batch)


def intake_of(*pipelines, limit=1000):
    return PipelineIntake(asyncio.get_running_loop(), Admission(limit), Signal.TRACES, pipelines)


async def test_requests_that_wait_together_become_one_batch_and_each_is_answered():
    line, answers = Pipeline(), []
    intake = intake_of(line)
    for number in range(5):
        intake.admit(10).submit(b"%d" % number, count=2, on_done=lambda o, r, n: answers.append((o, r)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (batch,) = line.batches
    assert (batch.payload, len(batch)) == (b"01234", 10)
    assert intake.admission.inflight == 50
    batch.ack.resolve(Outcome.RETRY, "why")
    assert answers == [(Outcome.RETRY, "why")] * 5
    assert intake.admission.inflight == 0


async def test_each_sender_hears_of_no_more_refused_items_than_it_sent():
    line, answers = Pipeline(), []
    intake = intake_of(line)
    for refused in (None, 3, 1):
        for count in (2, 5):
            intake.admit(1).submit(b"x", count=count, on_done=lambda o, r, n: answers.append(n))
        await asyncio.sleep(0.01)
        line.batches.pop().ack.resolve(Outcome.REJECTED, "bad", refused)
    assert answers == [2, 5, 2, 3, 1, 1]


async def test_contexts_don_t_mix_and_a_batch_stays_under_the_merge_size(monkeypatch):
    monkeypatch.setattr(intake_module, "MERGE_BYTES", 6)
    line = Pipeline()
    intake = intake_of(line)
    for tenant, body in (("a", b"111"), ("a", b"222"), ("a", b"333"), ("b", b"4")):
        intake.admit(1).submit(body, count=1, on_done=lambda o, r, n: None, context=Context(tenant))
    await asyncio.sleep(0.01)
    assert [(b.context.tenant, b.payload) for b in line.batches] == [
        ("a", b"111222"),
        ("a", b"333"),
        ("b", b"4"),
    ]
    for batch in line.batches:
        batch.ack.resolve(Outcome.DELIVERED)


async def test_two_pipelines_share_one_payload_and_the_worse_answer_wins():
    one, two, answers = Pipeline(), Pipeline(), []
    intake_of(one, two).admit(4).submit(b"abcd", count=1, on_done=lambda o, r, n: answers.append(o))
    await asyncio.sleep(0.01)
    assert one.batches[0].payload is two.batches[0].payload
    one.batches[0].ack.resolve(Outcome.DELIVERED)
    two.batches[0].ack.resolve(Outcome.RETRY)
    assert answers == [Outcome.RETRY]


async def test_the_budget_refuses_before_anything_is_taken_and_lets_one_giant_through():
    intake = intake_of(Pipeline(), limit=100)
    first = intake.admit(60)
    with pytest.raises(Overloaded):
        intake.admit(60)
    with pytest.raises(Overloaded):
        first.grow(60)
    first.grow(40)
    first.release()
    assert intake.admission.inflight == 0
    giant = intake.admit(5000)
    with pytest.raises(Overloaded):
        intake.admit(1)
    giant.release()


async def test_many_threads_lose_nothing():
    line, answers, lock = Pipeline(), [], threading.Lock()
    intake = intake_of(line, limit=10**9)

    def work():
        for _ in range(500):
            intake.admit(1).submit(b"x", count=1, on_done=lambda o, r, n: answers.append(o))

    threads = [threading.Thread(target=work) for _ in range(8)]
    with lock:
        for thread in threads:
            thread.start()
    while any(thread.is_alive() for thread in threads) or sum(len(b) for b in line.batches) < 4000:
        await asyncio.sleep(0.001)
    for batch in line.batches:
        batch.ack.resolve(Outcome.DELIVERED)
    assert len(answers) == 4000
    assert intake.admission.inflight == 0
