"""The delivery model of `test_delivery_model` with the real sampler, and more that goes wrong.

Two backends take every batch: one now and then gives it back or refuses it for good, the other is a log that is full at
times. Reads fail at times, and some records become unreadable. The sampler's rate limit depends on its own history, so
two lives would decide differently.
"""

import asyncio
import collections
import logging
import random
from types import SimpleNamespace

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_delivery_model import Backend, StoredLog, traffic

from collector.ack import Outcome
from collector.component.base import BuildContext
from collector.component.connector import Chunk, Partition, Record
from collector.errors import StorageError
from collector.graph import head as head_module
from collector.graph import outlet as outlet_module
from collector.graph import runner as runner_module
from collector.graph import tail as tail_module
from collector.graph.outlet import LogSink, Outlet
from collector.graph.runner import PartitionRunner
from collector.telemetry.ledger import Account
from processors.tail_sampling import TailSampling, journal

MS = 1_000_000
CONFIG = {
    "policies": [
        {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "some", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 8}},
    ],
    "decision_wait": "40ms",
    "num_traces": 60,
    "decision_cache": {"sampled_cache_size": 1000, "non_sampled_cache_size": 1000},
}


def encode(spans):
    request = ExportTraceServiceRequest()
    out = request.resource_spans.add().scope_spans.add().spans
    for trace, number, error in spans:
        span = out.add(trace_id=(trace + 1).to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="s")
        span.status.code = 2 if error else 0
    return request.SerializeToString()


def decode(payload):
    """(trace, span number) of each span."""
    request = ExportTraceServiceRequest.FromString(payload)
    return [
        (int.from_bytes(span.trace_id, "big") - 1, int.from_bytes(span.span_id, "big") - 1)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


class FrailLog(StoredLog):
    """Times in milliseconds; reads that fail, and records that are damaged once and for all."""

    def __init__(self, rng, log):
        super().__init__(rng, log)
        self.log, self.damaged = [encode(spans) for spans in log], set()

    def now_ns(self):
        return super().now_ns() * MS

    async def read(self, position, max_bytes):
        await self.stumble()
        if self.rng.random() < 0.1:
            raise StorageError("not now")
        if self.rng.random() < 0.03:
            self.damaged.add(self.rng.randrange(position, self.written))
        upto = min(self.written, position + 1 + self.rng.randrange(5))
        positions = [n for n in range(position, upto) if n not in self.damaged]
        return Chunk([Record(n, n * MS, self.log[n], self.counts[n]) for n in positions], upto)


class Queue(Backend):
    """As an export queue: what is refused for good goes to the dead letter, which is as good as delivered here."""

    async def answer(self):
        while True:
            await asyncio.sleep(0)
            if self.waiting and self.rng.random() < 0.25:
                batch = self.waiting.pop(self.rng.randrange(len(self.waiting)))
                self.got.update(decode(batch.to_bytes()))
                await asyncio.sleep(0)
                refused = self.rng.random() < 0.1
                batch.ack.resolve(Outcome.REJECTED if refused else Outcome.DELIVERED, "rejected" if refused else "")


class OtherLog:
    """The log of a second connector: refuses at once when much waits, and later when it is full."""

    def __init__(self, rng):
        self.rng, self.got, self.waiting = rng, collections.Counter(), []

    def append(self, batch):
        if len(self.waiting) > 2:
            batch.ack.resolve(Outcome.RETRY, "log_busy")
        else:
            self.waiting.append(batch)

    async def answer(self):
        while True:
            await asyncio.sleep(0)
            if self.waiting and self.rng.random() < 0.3:
                waiting, self.waiting = self.waiting, []
                full = self.rng.random() < 0.3
                for batch in waiting:
                    if not full:
                        self.got.update(decode(batch.to_bytes()))
                    batch.ack.resolve(Outcome.RETRY if full else Outcome.DELIVERED, "log_full" if full else "")

    crash = Backend.crash


async def life(rng, log, queue, other, *, steps):
    """One life of the process; True when everything is settled."""
    context = BuildContext("tail_sampling", logging.getLogger("test"))
    sampler = TailSampling(TailSampling.Config.model_validate(CONFIG), context)
    account = Account("traces")
    outlet = Outlet(account, [queue, LogSink(other, SimpleNamespace(), "traces")], from_log=True)
    runner = PartitionRunner(log.reopen(), [sampler], outlet, account, None, fatal=pytest.fail)
    answering = [asyncio.create_task(each.answer()) for each in (queue, other)]
    await runner.start()
    for _ in range(steps):
        await asyncio.sleep(0)
        if rng.random() < 0.3:
            log.append_some()
        if rng.random() < 0.2:
            await runner.tick()
        if log.mark == len(log.log):
            break
    graceful = rng.random() < 0.5
    if graceful:
        await runner.stop(0.002)
    else:
        await runner._cancel()
        outlet.stop()
        runner.tail.abandon()
    for task in answering:
        task.cancel()
    queue.crash()
    other.crash()
    for _ in range(5):
        await asyncio.sleep(0)
    if graceful:
        assert account.held == 0
        assert min(account.delivered, account.accepted, *account.filtered.values(), *account.lost.values(), 0) == 0
    return log.mark == len(log.log)


@pytest.mark.parametrize("seed", range(20))
def test_kill_anywhere_with_the_real_sampler(seed, monkeypatch):
    monkeypatch.setattr(runner_module, "COMMIT_EVERY_S", 0)
    for module in (head_module, outlet_module, tail_module):
        monkeypatch.setattr(module, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr(Partition, "pace_s", 0)
    rng = random.Random(seed)
    spans = traffic(rng)
    log, queue, other = FrailLog(rng, spans), Queue(rng), OtherLog(rng)

    async def lives():
        crashes = 0
        while not await life(rng, log, queue, other, steps=rng.randrange(20, 300)):
            crashes += 1
            assert crashes < 500
        return crashes

    assert asyncio.run(lives()) > 0
    verdict = {}
    for blob in log.stored:
        for entry in journal.decode(blob)[0]:
            trace, keep = int(entry["lo"]) - 1, bool(entry["sampled"])
            assert verdict.setdefault(trace, keep) == keep, "a verdict flipped"
    readable = [record for position, record in enumerate(spans) if position not in log.damaged]
    wanted = {(trace, number) for record in readable for trace, number, _ in record if verdict[trace]}
    allowed = {(trace, number) for record in spans for trace, number, _ in record if verdict.get(trace)}
    for sink in (queue, other):
        assert wanted <= set(sink.got) <= allowed
    kept = sum(verdict.values())
    assert 0 < kept < len(verdict)
