"""Requests that wait to be written: for how long at most, and what they are told."""

import asyncio
import logging
import time

import pytest

from collector.ack import Ack
from collector.batch import Batch
from collector.connectors.kafka.appends import Appends
from collector.connectors.kafka.options import KafkaOptions
from collector.connectors.kafka.producer import NotSentError
from collector.testing.batches import traces_payload

DEADLINE_S = 0.2


class FrozenBroker:
    """In the producer's place: never answers, so that every send fails when its deadline has passed."""

    def __init__(self):
        self.sends = 0
        self.failed = False

    async def send(self, topic, records, headers, since=None):
        self.sends += 1
        try:
            async with asyncio.timeout_at((since or asyncio.get_running_loop().time()) + DEADLINE_S):
                await asyncio.Event().wait()
        except TimeoutError:
            self.failed = True
            raise NotSentError("kafka_timeout") from None

    def obstacle(self):
        return "kafka_timeout" if self.failed else None


@pytest.fixture
def broker():
    return FrozenBroker()


@pytest.fixture
async def appends(broker):
    def nothing(*_):
        pass

    config = KafkaOptions(producer={"linger": "1ms"})
    log = logging.getLogger("kafka")
    return Appends(config, broker, obstacle=broker.obstacle, written=nothing, refused=nothing, took=nothing, log=log)


def appended(appends):
    """Its batch's answer, and how long that took, in a future."""
    answer, began = asyncio.get_running_loop().create_future(), time.monotonic()
    ack = Ack(lambda outcome, reason: answer.set_result((outcome.name, reason, time.monotonic() - began)))
    appends.append(Batch(traces_payload(3), ack))
    return answer


async def test_who_comes_while_a_write_hangs_waits_no_longer_than_it(appends, broker):
    first = appended(appends)
    await asyncio.sleep(DEADLINE_S / 4)
    assert broker.sends == 1
    second = appended(appends)
    answers = await asyncio.gather(first, second)
    assert [answer[:2] for answer in answers] == [("RETRY", "kafka_timeout")] * 2
    assert max(seconds for *_, seconds in answers) < DEADLINE_S * 1.5
    assert broker.sends == 1  # the second was told without another write


async def test_who_comes_after_it_is_told_at_once(appends, broker):
    await appended(appends)
    _, _, seconds = await appended(appends)
    assert seconds < DEADLINE_S / 4
    assert broker.sends == 1
