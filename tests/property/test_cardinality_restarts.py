"""The limiter in a pipeline that is killed at any await: what a backend was sent adds up to the truth all the same.

The log, its journal and its commits survive, everything else dies with a life. The backend remembers what it was sent
whether or not the answer got back, and is sent some of it again.
"""

import asyncio
import logging
import random

import pytest
from cardinality_traffic import Reader, counters, report
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from test_delivery_model import Backend, StoredLog

from collector.ack import Outcome
from collector.batch import Signal
from collector.component.base import BuildContext
from collector.component.connector import Chunk, Record
from collector.graph import outlet as outlet_module
from collector.graph import runner as runner_module
from collector.graph import states as states_module
from collector.graph.outlet import Outlet
from collector.graph.runner import PartitionRunner
from collector.telemetry.ledger import Account
from processors.cardinality_limiter import CardinalityLimiter

RECORDS = 80


class Log(StoredLog):
    """Keeps of its journal what the contract asks for, and no more."""

    def __init__(self, rng, payloads):
        super().__init__(rng, [()] * len(payloads))
        self.log, self.heads = payloads, []
        self.counts = [_points(payload) for payload in payloads]

    async def read(self, position, max_bytes):
        await self.stumble()
        upto = min(self.written, position + 1 + self.rng.randrange(5))
        return Chunk(
            [Record(n, n, self.log[n], self.counts[n], signal=Signal.METRICS) for n in range(position, upto)], upto
        )

    async def journal(self, blob, count, head, keep):
        await super().journal(blob, count, head, keep)
        self.heads.append(head)
        while len(self.heads) > max(1, keep) and self.heads[0] <= self.mark:
            self.heads.pop(0)
            self.stored.pop(0)


class Store(Backend):
    """Reads what it is sent."""

    def __init__(self, rng):
        super().__init__(rng)
        self.reader = Reader()

    async def answer(self):
        while True:
            await asyncio.sleep(0)
            if self.waiting and self.rng.random() < 0.25:
                batch = self.waiting.pop(self.rng.randrange(len(self.waiting)))
                if self.rng.random() < 0.1:
                    batch.ack.resolve(Outcome.RETRY, "busy")
                    continue
                self.reader.read(ExportMetricsServiceRequest.FromString(batch.to_bytes()))
                await asyncio.sleep(0)
                batch.ack.resolve(Outcome.DELIVERED)


def _points(payload):
    request = ExportMetricsServiceRequest.FromString(payload)
    return sum(len(m.sum.data_points) for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics)


async def life(rng, log, store, config, account, steps):
    """One life of the process; what it leaves behind in the log is what the next one begins with."""
    limiter = CardinalityLimiter(
        CardinalityLimiter.Config.model_validate(config), BuildContext("limiter", logging.getLogger("test"))
    )
    outlet = Outlet(account, [store], from_log=True)
    runner = PartitionRunner(log.reopen(), [limiter], outlet, account, None, fatal=pytest.fail)
    answering = asyncio.create_task(store.answer())
    await runner.start()
    for _ in range(steps):
        await asyncio.sleep(0)
        if rng.random() < 0.3:
            log.append_some()
        if rng.random() < 0.2:
            await runner.tick()
        if log.mark == len(log.log):
            break
    if rng.random() < 0.3:
        await runner.stop(0.002)
        answering.cancel()
    else:
        answering.cancel()
        await runner._cancel()
        outlet.stop()
        runner.tail.abandon()
    store.crash()
    return limiter


@pytest.mark.parametrize("seed", range(16))
def test_sums_are_exact_when_the_pipeline_is_killed_anywhere(seed, monkeypatch):
    monkeypatch.setattr(runner_module, "COMMIT_EVERY_S", 0)
    monkeypatch.setattr(outlet_module, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr(states_module, "PART_BYTES", 700)
    monkeypatch.setattr(states_module, "BYTES_PER_S", 1e12)
    rng = random.Random(seed)
    config = rng.choice(
        (
            {"max_series_per_metric": 4},
            {"max_values_per_label": 2},
            {"max_series": 6, "action": "drop_label", "overrides": [{"metrics": ["*"], "drop_labels": ["user"]}]},
        )
    )
    sources, truth = counters(rng), Reader()
    payloads = []
    for now in range(1, RECORDS):
        request = report(rng, sources, now)
        payloads.append(request.SerializeToString())
        truth.read(request)
        if rng.random() < 0.1:
            payloads.append(rng.choice(payloads))

    async def lives():
        log, store, account = Log(rng, payloads), Store(rng), Account("metrics")
        count = 0
        while log.mark < len(log.log):
            limiter = await life(rng, log, store, config, account, rng.randrange(10, 150))
            count += 1
            assert count < 500
        return count, store, limiter

    count, store, limiter = asyncio.run(lives())
    assert count > 1
    assert limiter.limiter.folded > 0
    assert store.reader.total() == truth.total()


def test_without_its_state_they_would_not_be(monkeypatch):
    """That the test above can fail: a limiter that begins anew in each life admits others, and counts some twice."""
    monkeypatch.setattr(CardinalityLimiter, "restore", lambda self, blob: None)
    wrong = 0
    for seed in range(3):
        try:
            test_sums_are_exact_when_the_pipeline_is_killed_anywhere(seed, monkeypatch)
        except AssertionError:
            wrong += 1
    assert wrong == 3
