import logging
from types import SimpleNamespace

import pytest

from collector.connectors.kafka.producer import NotSentError
from collector.connectors.kafka.quarantine import Quarantine
from collector.errors import StorageError


class Producer:
    def __init__(self):
        self.sent, self.fails = [], False

    async def send(self, topic, records, headers):
        if self.fails:
            raise NotSentError("kafka_away")
        self.sent.append((topic, records, headers))


@pytest.fixture
def counted():
    return []


@pytest.fixture
def producer():
    return Producer()


@pytest.fixture
def quarantine(producer, counted):
    return Quarantine("aside", producer, counted.append, logging.getLogger("butterfly.test"))


def record(value=b"secret payload", headers=()):
    return SimpleNamespace(topic="spans", partition=3, offset=99, value=value, headers=headers)


async def test_the_bytes_are_kept_with_where_they_came_from_and_why(quarantine, producer, counted):
    await quarantine.put(record(headers=(("butterfly-tenant", b"acme"), ("odd", None))), "malformed")
    (sent,) = producer.sent
    headers = [("butterfly-reason", b"malformed"), ("butterfly-tenant", b"acme"), ("odd", b"")]
    assert sent == ("aside", [(0, b"spans/3/99", b"secret payload")], headers)
    assert counted == ["malformed"]


async def test_a_record_without_a_value_is_kept_too(quarantine, producer):
    await quarantine.put(record(None), "empty")
    assert producer.sent[0][1] == [(0, b"spans/3/99", None)]


async def test_the_log_has_the_place_and_no_payload(quarantine, caplog):
    await quarantine.put(record(headers=(("butterfly-tenant", b"acme"),)), "malformed")
    assert "spans/3, offset 99" in caplog.text
    assert "malformed" in caplog.text
    assert "secret" not in caplog.text
    assert "acme" not in caplog.text


async def test_what_could_not_be_put_aside_is_not_counted(quarantine, producer, counted, caplog):
    producer.fails = True
    with pytest.raises(StorageError):
        await quarantine.put(record(), "malformed")
    assert counted == []
    assert caplog.text == ""


async def test_a_topic_that_takes_nothing_is_not_asked_at_once_again(quarantine, producer, counted):
    producer.fails = True
    with pytest.raises(NotSentError):
        await quarantine.put(record(), "malformed")
    producer.fails = False
    with pytest.raises(StorageError, match="the quarantine topic takes no records"):
        await quarantine.put(record(), "malformed")
    assert producer.sent == []
    quarantine._not_before = 0.0
    await quarantine.put(record(), "malformed")
    assert counted == ["malformed"]


async def test_what_the_topic_could_not_take_is_left_out(producer):
    quarantine = Quarantine("aside", producer, str, logging.getLogger("butterfly.test"), largest=10)
    await quarantine.put(record(b"x" * 11, headers=(("h", b"y" * 9000),)), "malformed")
    assert producer.sent == [
        ("aside", [(0, b"spans/3/99", b"x" * 10)], [("butterfly-reason", b"malformed"), ("butterfly-size", b"11")])
    ]
