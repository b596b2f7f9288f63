"""What the brokers forbid is a sentence, not a crash, and works without a restart once it is allowed."""

import asyncio
import logging

import pytest

from collector.ack import Outcome
from collector.errors import ConfigError
from collector.testing.durable_connector import append, payloads
from tests.integration.kafka_lives import Follower, Topics, hurry, ready, until
from tests.servers.kafka_cluster import KafkaCluster

GOOD = payloads(0, 20)
PASSWORD = "the-Gateway's-own+password"
USERS = {"gateway": PASSWORD, "boss": "boss-word"}
BOSS = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "boss"} | {
    "sasl_plain_password": USERS["boss"]
}


def _sasl(user="gateway", password=PASSWORD, mechanism="PLAIN"):
    return {"auth": {"sasl": {"mechanism": mechanism, "username": user, "password": password}}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    hurry(monkeypatch)
    monkeypatch.setattr("collector.connectors.kafka.connector.START_PATIENCE_S", 0.3)


@pytest.fixture(scope="module")
def guarded(kafka_here, tmp_path_factory):
    with KafkaCluster(tmp_path_factory.mktemp("guarded"), sasl=USERS, authorizer=True) as cluster:
        for resource, name in (("topic", "*"), ("group", "*"), ("cluster", "kafka-cluster")):
            cluster.allow("boss", "all", resource, name)
        yield cluster


@pytest.fixture
async def topics(guarded):
    """Topics on which the gateway may do everything, until the test forbids something."""
    topics = Topics(guarded.bootstrap, **_sasl("boss", USERS["boss"]))
    topics.security = BOSS
    await topics.create()
    topics.options |= _sasl()
    for name in (topics.data, topics.decisions, topics.quarantine):
        await asyncio.to_thread(guarded.allow, "gateway", "all", "topic", name)
    await asyncio.to_thread(guarded.allow, "gateway", "all", "group", topics.group)
    yield topics
    await asyncio.to_thread(guarded.forget, "gateway")


async def _allow_again(guarded, topics):
    await asyncio.to_thread(guarded.forget, "gateway")
    for name in (topics.data, topics.decisions, topics.quarantine):
        await asyncio.to_thread(guarded.allow, "gateway", "all", "topic", name)
    await asyncio.to_thread(guarded.allow, "gateway", "all", "group", topics.group)


DENIALS = {
    "produce": ("write", "topic", "data"),
    "fetch": ("read", "topic", "data"),
    "describe": ("describe", "topic", "data"),
    "group": ("read", "group", "group"),
    "decisions": ("write", "topic", "decisions"),
    "quarantine": ("write", "topic", "quarantine"),
}
SENTENCES = {
    "produce": "this user may not write to the topics",
    "fetch": "this user may not read the topic",
    "describe": "is hidden from this user: allow Describe on it",
    "group": "this user may not use the consumer group",
    "decisions": "this user may not write to the topics",
    "quarantine": "this user may not write to the topics",
}


@pytest.mark.parametrize("what", DENIALS)
async def test_what_is_forbidden_under_us_is_said_and_works_again_when_allowed(guarded, topics, what, caplog):
    operation, resource, name = DENIALS[what]
    name = topics.group if name == "group" else getattr(topics, name)
    follower = Follower()
    async with topics.life(follower) as connector:
        await ready(connector)
        await follower.assigned_once.wait()
        assert await append(connector, GOOD[:2]) == [(Outcome.DELIVERED, "")] * 2
        await until(lambda: len(b"".join(follower.payloads)) == len(b"".join(GOOD[:2])))
        await asyncio.to_thread(guarded.deny, "gateway", operation, resource, name)
        sentences = []

        async def provoke():
            """Do what needs the permission."""
            if what == "quarantine":
                await topics.put(b"\xff")
            while not any(SENTENCES[what] in each for each in sentences):
                if what == "produce":
                    assert all(outcome is Outcome.RETRY for outcome, _ in await append(connector, GOOD[2:3]))
                if what == "decisions":
                    for partition in follower.partitions.values():
                        with pytest.raises(Exception, match="kafka_denied"):
                            await partition.journal(b"verdicts", 1, partition.end, 0)
                sentences.append(connector.ready() or "")
                await asyncio.sleep(0.05)

        try:
            await asyncio.wait_for(provoke(), 75 if what == "describe" else 20)
        except TimeoutError:
            pytest.fail(f"said: {set(sentences)}")
        await _allow_again(guarded, topics)
        await ready(connector, within=30)
        assert await _until_delivered(connector, GOOD[3:5])
        await until(lambda: GOOD[4] in b"".join(follower.payloads), within=30)
    assert topics.counted("lost_records") == 0
    assert topics.counted("quarantined_records") == (what == "quarantine")
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) < 30
    assert PASSWORD not in caplog.text


async def _until_delivered(connector, some):
    """Append, and again, as a sender does that is told to come again."""
    async with asyncio.timeout(20):
        while await append(connector, some) != [(Outcome.DELIVERED, "")] * len(some):
            await asyncio.sleep(0.2)
    return True


async def test_settings_that_may_not_be_read_are_a_warning(guarded, topics, caplog):
    await asyncio.to_thread(guarded.deny, "gateway", "describe_configs", "topic", topics.data)
    async with topics.life(Follower()) as connector:
        await ready(connector)
        assert await append(connector, GOOD[:1]) == [(Outcome.DELIVERED, "")]
    assert f"topic {topics.data} doesn't show its settings" in caplog.text
    assert "allow DescribeConfigs on it" in caplog.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_and_never_shown(topics, mechanism, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = "quite-Wrong+password"
    topics.options |= _sasl(password=wrong, mechanism=mechanism)
    async with topics.life(Follower()) as connector:
        await until(lambda: "refuse the user or the password" in (connector.ready() or ""))
        ((outcome, reason),) = await append(connector, GOOD[:1])
        assert outcome is Outcome.RETRY
        assert reason in {"kafka_login", "kafka_away"}
    assert wrong not in caplog.text
    assert "refuse the user or the password of auth.sasl" in caplog.text
    topics.options |= _sasl(mechanism=mechanism)
    async with topics.life() as connector:
        await ready(connector)
        assert await append(connector, GOOD[:1]) == [(Outcome.DELIVERED, "")]
    assert PASSWORD not in caplog.text


@pytest.fixture(scope="module")
def encrypted(kafka_here, tmp_path_factory):
    required = {"listener.name.client.ssl.client.auth": "required"}
    with KafkaCluster(tmp_path_factory.mktemp("encrypted"), tls=True, settings=required) as cluster:
        yield cluster


def _tls(cluster, **changes):
    made = cluster.certificates
    return {"ca_file": str(made.ca), "cert_file": str(made.certificate), "key_file": str(made.key)} | changes


async def test_mutual_tls_with_an_own_authority(encrypted):
    topics = await Topics(encrypted.bootstrap, tls=_tls(encrypted)).create()
    follower = Follower()
    async with topics.life(follower) as connector:
        await ready(connector)
        assert await append(connector, GOOD) == [(Outcome.DELIVERED, "")] * 20
        await until(lambda: b"".join(follower.payloads) == b"".join(GOOD))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ca_file": ""}, "has a certificate that isn't trusted"),
        ({"cert_file": "", "key_file": ""}, "a certificate of ours"),
        ({"server_name_override": "elsewhere.example"}, "has a certificate that isn't trusted"),
    ],
    ids=["unknown authority", "no certificate of ours", "other name"],
)
async def test_tls_that_does_not_fit_is_said(encrypted, changes, sentence, caplog):
    topics = Topics(encrypted.bootstrap, tls=_tls(encrypted, **changes))
    async with topics.life(Follower()) as connector:
        await until(lambda: "no broker was asked" not in (connector.ready() or ""))
        assert sentence in connector.ready()
        assert [outcome for outcome, _ in await append(connector, GOOD[:1])] == [Outcome.RETRY]


async def test_plaintext_towards_tls_is_said(encrypted):
    topics = Topics(encrypted.bootstrap)
    async with topics.life() as connector:
        await until(lambda: "it may expect tls" in (connector.ready() or ""))


async def test_a_tls_file_that_is_missing_is_an_error_at_start(encrypted, tmp_path):
    topics = Topics(encrypted.bootstrap, tls=_tls(encrypted, ca_file=str(tmp_path / "nothing.pem")))
    with pytest.raises(ConfigError):
        async with topics.life():
            pass
