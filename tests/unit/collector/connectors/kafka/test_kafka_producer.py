import asyncio
import logging
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from collector.connectors.kafka import producer as producer_module
from collector.connectors.kafka.producer import NotSentError, Producer
from collector.errors import StorageError

ONE = [(0, None, b"payload")]


class Kafka:
    """Stands for `AIOKafkaProducer`: every producer that was made, and what the brokers do with it."""

    def __init__(self):
        self.made = []
        self.start_fails = []
        self.answers = []
        self.reachable = True
        self.hangs_at_stop = False
        self.hangs_at_close = False
        self.stop_fails = []

    def __call__(self, **arguments):
        made = FakeProducer(self, arguments)
        self.made.append(made)
        return made


class FakeProducer:
    def __init__(self, kafka, arguments):
        self.kafka, self.arguments = kafka, arguments
        self.sent, self.futures, self.stopped, self.closed = [], [], False, False
        self.client = SimpleNamespace(force_metadata_update=self.reach, close=self.close)
        self._sender = SimpleNamespace(sender_task=None)

    async def start(self):
        if self.kafka.start_fails:
            raise self.kafka.start_fails.pop(0)
        self._sender.sender_task = asyncio.create_task(asyncio.sleep(1000))

    async def stop(self):
        self.stopped = True
        if self.kafka.stop_fails:
            raise self.kafka.stop_fails.pop(0)
        if self.kafka.hangs_at_stop:
            await asyncio.sleep(1000)
        if self._sender.sender_task is not None:
            self._sender.sender_task.cancel()

    async def close(self):
        self.closed = True
        if self.kafka.hangs_at_close:
            await asyncio.sleep(1000)

    async def reach(self):
        if self.kafka.reachable is None:
            await asyncio.sleep(1000)
        return self.kafka.reachable

    async def send(self, topic, value, key, partition, headers):
        self.sent.append((topic, partition, key, value, headers))
        answer = self.kafka.answers.pop(0) if self.kafka.answers else len(self.sent)
        if isinstance(answer, Exception) and getattr(answer, "at_once", False):
            raise answer
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(SimpleNamespace(partition=partition, offset=answer))
        return future


@pytest.fixture
def kafka(monkeypatch):
    kafka = Kafka()
    monkeypatch.setattr(producer_module, "AIOKafkaProducer", kafka)
    for name, seconds in (("RETRY_S", 0.02), ("WATCH_S", 0.02), ("STOP_WITHIN_S", 0.05)):
        monkeypatch.setattr(producer_module, name, seconds)
    return kafka


@pytest.fixture
async def producer(kafka):
    """Not started; `watched` holds what looked at the connection, `look` what a look does."""
    seen = []

    async def watched(found):
        seen.append(found)
        if producer.look is not None:
            raise producer.look

    async def explain():
        return "nobody listens there"

    producer = Producer(
        {"client_id": "me"}, deadline_s=0.05, watched=watched, explain=explain, log=logging.getLogger("butterfly.test")
    )
    producer.look, producer.seen = None, seen
    yield producer
    await asyncio.wait_for(producer.stop(), 2)


async def until(holds):
    async with asyncio.timeout(2):
        while not holds():
            await asyncio.sleep(0.002)


async def turns():
    """Let the loop carry out what is due. Timers fire in the order of their times, however late the loop is."""
    for _ in range(50):
        await asyncio.sleep(0)


async def connected(producer):
    producer.start()
    await asyncio.wait_for(producer.connected.wait(), 2)
    return producer


async def refused(producer, **given):
    with pytest.raises(NotSentError) as caught:
        await producer.send("spans", ONE, [], **given)
    return caught.value.reason


async def test_before_there_is_a_connection_nothing_is_sent(producer, kafka):
    assert producer.obstacle() == "kafka_away"
    assert await refused(producer) == "kafka_away"
    assert kafka.made == []


async def test_records_are_sent_in_order_and_their_places_returned(producer, kafka):
    await connected(producer)
    assert producer.obstacle() is None
    assert producer.why == ""
    written = await producer.send("spans", [(0, b"k", b"a"), (2, None, b"b")], [("h", b"1")])
    assert [(each.partition, each.offset) for each in written] == [(0, 1), (2, 2)]
    assert kafka.made[0].sent == [("spans", 0, b"k", b"a", [("h", b"1")]), ("spans", 2, None, b"b", [("h", b"1")])]
    assert kafka.made[0].arguments == {"client_id": "me"}
    assert producer.seen[0] is kafka.made[0]


async def test_an_answer_that_doesnt_come_is_unknown_after_the_deadline(producer, kafka):
    await connected(producer)
    kafka.answers = [None]
    waiting = asyncio.create_task(refused(producer))
    await asyncio.sleep(0.1)
    await turns()
    assert waiting.done()
    assert await waiting == "kafka_timeout"
    assert not kafka.made[0].futures[0].cancelled()


async def test_what_was_waited_before_counts_towards_the_deadline(producer, kafka):
    await connected(producer)
    kafka.answers = [None]
    waiting = asyncio.create_task(refused(producer, since=asyncio.get_running_loop().time() - 10))
    await turns()
    assert waiting.done(), "nothing is waited for any more"
    assert await waiting == "kafka_timeout"


async def test_while_something_is_overdue_the_brokers_are_slow_and_then_they_arent(producer, kafka):
    await connected(producer)
    kafka.answers = [None]
    await refused(producer)
    await asyncio.sleep(0.05)
    assert producer.obstacle() == "kafka_timeout"
    kafka.made[0].futures[0].set_result(SimpleNamespace(partition=0, offset=1))
    await until(lambda: producer.obstacle() is None)
    assert len(kafka.made) == 1
    assert len(await producer.send("spans", ONE, [])) == 1


async def test_an_overdue_record_that_fails_later_troubles_nobody(producer, kafka):
    await connected(producer)
    kafka.answers = [None]
    await refused(producer)
    kafka.made[0].futures[0].set_exception(KafkaConnectionError())
    await until(lambda: producer.obstacle() is None)


async def test_a_record_that_an_ended_producer_never_answers_holds_up_nobody(producer, kafka):
    await connected(producer)
    kafka.answers = [None, KafkaError()]
    unanswered = asyncio.create_task(producer.send("spans", ONE, []))
    await asyncio.sleep(0.01)
    await refused(producer)
    await until(lambda: len(kafka.made) == 2 and producer._producer is kafka.made[1])
    with pytest.raises(NotSentError):
        await unanswered
    await until(lambda: producer.obstacle() is None)


async def test_a_producer_that_ends_badly_is_replaced(producer, kafka):
    await connected(producer)
    kafka.answers = [KafkaError()]
    kafka.stop_fails = [ValueError("whatever aiokafka makes of it")]
    await refused(producer)
    await until(lambda: producer._producer is kafka.made[-1] and len(kafka.made) == 2)
    assert kafka.made[0].closed


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TopicAuthorizationFailedError("spans"), "kafka_denied"),
        (ClusterAuthorizationFailedError(), "kafka_denied"),
        (MessageSizeTooLargeError("big"), "too_large"),
        (KafkaConnectionError(), "kafka_error"),
        (KafkaError(), "kafka_error"),
        (AssertionError("no such partition"), "kafka_error"),
    ],
)
async def test_a_refusal_for_good_names_its_reason_and_takes_another_producer(producer, kafka, error, reason):
    await connected(producer)
    kafka.answers = [error]
    assert await refused(producer) == reason
    assert producer.obstacle() == reason
    await until(lambda: len(kafka.made) == 2 and producer._producer is kafka.made[1])
    assert kafka.made[0].stopped
    await until(lambda: producer.obstacle() is None)
    await producer.send("spans", ONE, [])
    assert len(kafka.made[1].sent) == 1


async def test_a_refusal_at_once_is_one_too(producer, kafka):
    await connected(producer)
    error = MessageSizeTooLargeError("big")
    error.at_once = True
    kafka.answers = [error]
    assert await refused(producer) == "too_large"
    await until(lambda: len(kafka.made) == 2)


async def test_one_of_several_that_is_refused_refuses_all(producer, kafka):
    await connected(producer)
    kafka.answers = [1, KafkaError(), 3]
    with pytest.raises(NotSentError):
        await producer.send("spans", [(n, None, b"x") for n in range(3)], [])
    assert len(kafka.made[0].sent) == 3


async def test_brokers_that_are_away_are_tried_again_and_the_log_tells_once(producer, kafka, caplog):
    kafka.start_fails = [KafkaConnectionError() for _ in range(4)]
    producer.start()
    await until(lambda: len(kafka.made) == 3)
    assert producer.obstacle() == "kafka_away"
    assert producer.why == "nobody listens there"
    await asyncio.wait_for(producer.connected.wait(), 2)
    assert producer.why == ""
    assert producer.obstacle() is None
    assert caplog.text.count("nobody listens there") == 1
    assert all(each.stopped for each in kafka.made[:4])


async def test_what_answers_as_no_kafka_does_is_tried_again(producer, kafka):
    kafka.start_fails = [ValueError("what is this"), EOFError()]
    producer.start()
    await asyncio.wait_for(producer.connected.wait(), 2)
    assert len(kafka.made) == 3


async def test_a_login_that_is_refused_says_so(producer, kafka):
    kafka.start_fails = [SaslAuthenticationFailed()]
    producer.start()
    await until(lambda: producer.obstacle() == "kafka_login")
    assert await refused(producer) == "kafka_login"
    await until(lambda: producer.obstacle() is None)


async def test_topics_that_are_wrong_are_no_connection(producer, kafka):
    producer.look = StorageError("run `butterfly kafka init`")
    producer.start()
    await until(lambda: producer.why == "run `butterfly kafka init`")
    assert not producer.connected.is_set()
    assert kafka.made[0].stopped
    producer.look = None
    await asyncio.wait_for(producer.connected.wait(), 2)


@pytest.mark.parametrize("silence", [False, None])
async def test_a_quiet_connection_that_breaks_is_noticed_and_its_return_too(producer, kafka, silence):
    await connected(producer)
    kafka.reachable = silence
    await until(lambda: producer.obstacle() == "kafka_away")
    kafka.reachable = True
    await until(lambda: producer.obstacle() is None)
    assert len(kafka.made) == 1


async def test_the_connection_is_looked_at_again_and_again(producer):
    await connected(producer)
    await until(lambda: len(producer.seen) >= 3)


async def test_stopping_is_bounded_when_the_brokers_hang(producer, kafka):
    await connected(producer)
    kafka.hangs_at_stop = kafka.hangs_at_close = True
    started = asyncio.get_running_loop().time()
    await producer.stop()
    assert asyncio.get_running_loop().time() - started < 0.5
    made = kafka.made[0]
    assert made.closed
    await until(made._sender.sender_task.cancelled)
    assert producer.obstacle() == "kafka_away"
    assert await refused(producer) == "kafka_away"


async def test_stopping_while_connecting_leaves_nothing_open(producer, kafka):
    kafka.start_fails = [KafkaConnectionError() for _ in range(1000)]
    producer.start()
    await until(lambda: len(kafka.made) == 2)
    await producer.stop()
    count = len(kafka.made)
    await asyncio.sleep(0.06)
    assert len(kafka.made) == count
    assert all(each.stopped for each in kafka.made)


async def test_a_send_that_is_cancelled_leaves_its_record_to_kafka(producer, kafka):
    await connected(producer)
    kafka.answers = [None]
    sending = asyncio.create_task(producer.send("spans", ONE, []))
    await turns()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not kafka.made[0].futures[0].cancelled()
    assert producer.obstacle() is None
    kafka.made[0].futures[0].set_exception(KafkaError())
