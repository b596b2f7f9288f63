"""Exporters that translate once, resume, and refuse item by item."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import ack as acks
from collector.api import (
    Ack,
    Batch,
    BuildContext,
    ExporterOptions,
    Meter,
    Outcome,
    Refusal,
    RejectedExportError,
    RetryableExportError,
    StagedExporter,
    StorageError,
)
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from collector.telemetry.item_outcomes import ItemOutcomes
from collector.telemetry.ledger import Account


def payload_of(names):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    return request.SerializeToString()


def names_of(payload):
    request = ExportTraceServiceRequest.FromString(payload)
    return [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


class Staged:
    def __init__(self, names):
        self.names = names
        self.left = list(names)


class ByName(StagedExporter):
    """Refuses names that begin with "bad", one word a reason; fails as long as `failures` has steps."""

    def __init__(self, config, context, failures=(), stage_error=None):
        super().__init__(config, context)
        self.failures = list(failures)
        self.stage_error = stage_error
        self.staged = []
        self.sent = []
        self.in_flight = 0

    def stage(self, batch):
        names = names_of(batch.payload)
        assert batch.mask is None
        if self.stage_error is not None and any(name.startswith("odd") for name in names):
            raise self.stage_error
        self.staged.append(names)
        return Staged(names)

    async def send(self, staged):
        self.in_flight += 1
        assert self.in_flight == 1
        try:
            await asyncio.sleep(0)
            if self.failures:
                self.sent.append(staged.left[:1])
                del staged.left[:1]
                raise self.failures.pop(0)
            self.sent.append(staged.left)
            reasons = sorted({name for name in staged.names if name.startswith("bad")})
            return [Refusal(np.array([name == each for name in staged.names]), each, "said so") for each in reasons]
        finally:
            self.in_flight -= 1


@pytest.fixture
def make(tmp_path):
    def build(*, failures=(), stage_error=None, dead=None, size=100, durable=True):
        options = {
            "retry_on_failure": {"initial_interval": "10ms", "max_interval": "40ms"},
            "sending_queue": {"batch": {"flush_timeout": "20ms", "min_size": size, "max_size": size}},
        }
        exporter = ByName(
            ExporterOptions.model_validate(options),
            BuildContext("byname", logging.getLogger("test")),
            failures,
            stage_error,
        )
        queue = ExportQueue(
            exporter,
            dead or DeadLetter(tmp_path / "dead", 1 << 20),
            Meter(),
            durable=durable,
            log=logging.getLogger("test.queue"),
        )
        return queue, exporter

    before = acks.leaked()
    yield build
    assert acks.leaked() == before


class Books:
    def __init__(self):
        self.account = Account("traces")
        self.ends = []

    def batch(self, *names):
        def done(outcome, reason):
            self.account.settle_each(outcomes, outcome, reason)
            self.ends.append((names[0], outcome))

        outcomes = ItemOutcomes(len(names))
        self.account.accept(len(names))
        return Batch(payload_of(names), Ack(done), count=len(names), account=self.account, outcomes=outcomes)

    async def ended(self, n):
        async with asyncio.timeout(5):
            while len(self.ends) < n:
                await asyncio.sleep(0.002)


def letters(tmp_path):
    return [(each.reason, names_of(each.payload), each.items) for each in read(tmp_path / "dead")]


async def test_refused_items_alone_are_dead_lettered_and_the_ledger_is_exact(make, tmp_path):
    queue, exporter = make()
    books = Books()
    await queue.start()
    queue.offer(books.batch("a", "bad-1", "b"))
    queue.offer(books.batch("c", "bad-2", "bad-1"))
    await books.ended(2)
    await queue.stop(1)
    assert exporter.staged == [["a", "bad-1", "b", "c", "bad-2", "bad-1"]]
    assert letters(tmp_path) == [("bad-1: said so", ["bad-1", "bad-1"], 2), ("bad-2: said so", ["bad-2"], 1)]
    assert {outcome for _, outcome in books.ends} == {Outcome.DELIVERED}
    account = books.account
    assert (account.delivered, account.dead_lettered["refused"], account.held) == (3, 3, 0)
    assert account.imbalance() == 0


async def test_a_request_is_staged_once_and_resumed(make):
    queue, exporter = make(failures=[RetryableExportError("busy"), OSError(5, "broken"), RetryableExportError("busy")])
    books = Books()
    await queue.start()
    queue.offer(books.batch("a", "b", "c", "d"))
    await books.ended(1)
    await queue.stop(1)
    assert exporter.staged == [["a", "b", "c", "d"]]
    assert exporter.sent == [["a"], ["b"], ["c"], ["d"]]


async def test_requests_are_staged_in_order_behind_one_that_fails(make):
    queue, exporter = make(failures=[RetryableExportError("busy")] * 3, size=1)
    books = Books()
    await queue.start()
    for name in "abcd":
        queue.offer(books.batch(name))
    await books.ended(4)
    await queue.stop(1)
    assert exporter.staged == [["a"], ["b"], ["c"], ["d"]]


@pytest.mark.parametrize("error", [ValueError("surprise"), RejectedExportError("can't")])
async def test_what_cant_be_translated_is_found_and_the_rest_delivered(make, tmp_path, error):
    queue, exporter = make(stage_error=error)
    books = Books()
    await queue.start()
    queue.offer(books.batch("a", "b", "odd", "c"))
    await books.ended(1)
    await queue.stop(1)
    (letter,) = letters(tmp_path)
    assert letter[1] == ["odd"]
    assert sorted(name for names in exporter.staged for name in names) == ["a", "b", "c"]


class FullOnce(DeadLetter):
    """Takes the first letter, and is full at the second for once."""

    writes = 0

    async def write(self, batch, exporter_id, reason, rejected=None):
        self.writes += 1
        if self.writes == 2:
            raise StorageError("the dead letter is full")
        await super().write(batch, exporter_id, reason, rejected)


async def test_no_refusal_is_written_twice_when_the_dead_letter_was_full(make, tmp_path):
    queue, exporter = make(dead=FullOnce(tmp_path / "dead", 1 << 20))
    books = Books()
    await queue.start()
    queue.offer(books.batch("bad-1", "a", "bad-2", "bad-3"))
    await books.ended(1)
    await queue.stop(1)
    assert [reason.partition(":")[0] for reason, _, _ in letters(tmp_path)] == ["bad-1", "bad-2", "bad-3"]
    assert exporter.staged == [["bad-1", "a", "bad-2", "bad-3"]], "it isn't sent again"


async def test_a_selection_is_staged_without_the_rest(make):
    queue, exporter = make(size=2)
    books = Books()
    await queue.start()
    names = [f"s{i}" for i in range(13)]  # far over the limits: sent in pieces, which are selections
    queue.offer(books.batch(*names))
    await books.ended(1)
    await queue.stop(1)
    assert [name for staged in exporter.staged for name in staged] == names
