"""When more verdicts wait for the tail than are allowed: the head stops, and never for good."""

import asyncio
import logging

import pytest

from collector.ack import Ack, Outcome
from collector.batch import Batch
from collector.component.base import BuildContext
from collector.component.connector import Partition
from collector.graph.memory_log import MemoryLog
from collector.graph.outlet import Outlet
from collector.graph.runner import PartitionRunner
from collector.telemetry.ledger import Account
from collector.testing.batches import traces_payload
from processors.tail_sampling import TailSampling
from processors.tail_sampling import processor as tail_processor


class Backend:
    def __init__(self):
        self.items = 0

    def has_room(self, size):
        return True

    async def room(self, size):
        pass

    def offer(self, batch):
        self.items += len(batch)
        batch.ack.resolve(Outcome.DELIVERED)
        return True


async def test_one_open_trace_cannot_stop_the_head_for_ever(monkeypatch):
    """Roots decide all traces at once but the first, which holds the tail back until it is decided early."""
    monkeypatch.setattr(tail_processor, "MAX_UNSETTLED", 50)
    monkeypatch.setattr(Partition, "pace_s", 0)
    config = {
        "policies": [{"name": "all", "type": "always_sample"}],
        "decision_wait": "1h",
        "max_spans_per_trace": 2,
        "decision_cache": {"sampled_cache_size": 10, "non_sampled_cache_size": 10},
    }
    sampler = TailSampling(
        TailSampling.Config.model_validate(config), BuildContext("tail_sampling", logging.getLogger("test"))
    )
    account, backend = Account("traces"), Backend()
    log = MemoryLog("traces", 1 << 20, account)
    outlet = Outlet(account, [backend], from_log=True)
    runner = PartitionRunner(log, [sampler], outlet, account, None, fatal=pytest.fail, books_accepted=False)
    await runner.start()
    sent = 0
    for turn in range(100):
        items = 2 if turn else 1
        account.accept(items)
        sent += items
        log.emit(Batch(traces_payload(items, turn, traces=1), Ack.ignore(), count=items))
        await asyncio.sleep(0.001)
    assert backend.items == 0
    assert not sampler.has_room()
    for _ in range(100):
        await runner.tick()
        await asyncio.sleep(0.001)
    assert backend.items == sent
    assert account.held == 0
    await runner.stop(1)
