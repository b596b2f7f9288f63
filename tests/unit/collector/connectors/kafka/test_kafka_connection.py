import asyncio
from types import SimpleNamespace

import pytest

from collector.connectors.kafka.connection import stop_consumer


class Consumer:
    """`stop` does what `how` does, then ends. One task of its own goes on until it is cancelled."""

    def __init__(self, how):
        self.how = how
        self.beats = asyncio.create_task(asyncio.sleep(1000))
        self._coordinator = SimpleNamespace(_heartbeat_task=self.beats)
        self._fetcher = None
        self._client = SimpleNamespace(close=self.close)
        self.closed = False

    async def stop(self):
        await self.how()

    async def close(self):
        self.closed = True


async def cancelled_inside():
    """As aiokafka's fetcher, which cancels a task that pauses between two attempts, and awaits it."""
    pausing = asyncio.create_task(asyncio.sleep(1000))
    await asyncio.sleep(0)
    pausing.cancel()
    await pausing


async def frozen():
    await asyncio.sleep(1000)


async def broken():
    raise OSError


@pytest.mark.parametrize("how", [cancelled_inside, frozen, broken])
async def test_a_stop_ends_whatever_the_consumer_does_and_leaves_nothing(how):
    consumer = Consumer(how)
    await stop_consumer(consumer, 0.05)
    assert consumer.closed
    await asyncio.wait([consumer.beats], timeout=1)
    assert consumer.beats.cancelled()


async def test_a_caller_that_is_cancelled_meanwhile_stays_cancelled():
    consumer = Consumer(frozen)
    stopping = asyncio.create_task(stop_consumer(consumer, 10))
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert consumer.closed
