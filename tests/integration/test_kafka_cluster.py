"""The Kafka that other tests rely on does what it says, to a client."""

import asyncio
import contextlib
import signal
import ssl
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaConnectionError, TopicAuthorizationFailedError

from tests.servers.kafka_cluster import KafkaCluster

ROOT = Path(__file__).parents[2]
USERS = {"alice": "right", "bob": "also-right"}


def _login(user, password, mechanism="PLAIN"):
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }


async def _topic(bootstrap, replicas=1, **how):
    name = f"t-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **how)
    await admin.start()
    try:
        safe = {"min.insync.replicas": str(min(2, replicas))}
        await admin.create_topics([NewTopic(name, 2, replicas, topic_configs=safe)])
    finally:
        await admin.close()
    return name


@contextlib.asynccontextmanager
async def _producer(bootstrap, **how):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, **how)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


async def _consume(bootstrap, topic, count, **how):
    """The first values in the topic, sorted, as a group of its own reads them."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"g-{uuid.uuid4().hex}",
        auto_offset_reset="earliest",
        session_timeout_ms=1000,
        heartbeat_interval_ms=300,
        **how,
    )
    try:
        await consumer.start()
        async with asyncio.timeout(20):
            return sorted([(await consumer.getone()).value for _ in range(count)])
    finally:
        await consumer.stop()


async def _leader(bootstrap, topic):
    """The node id of the leader of the topic's first partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return next(each["leader"] for each in described["partitions"] if each["partition"] == 0)
    finally:
        await admin.close()


def _runs(pid):
    """Whether there is such a process; one that is dead and waits for its parent to notice is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_one_broker_gives_back_what_it_took(kafka):
    topic = await _topic(kafka.bootstrap)
    async with _producer(kafka.bootstrap) as producer:
        for value in (b"a", b"b"):
            sent = await producer.send_and_wait(topic, value)
            assert sent.timestamp_type == 1  # LogAppendTime
    assert await _consume(kafka.bootstrap, topic, 2) == [b"a", b"b"]


@pytest.fixture(scope="module")
def guarded(kafka_here, tmp_path_factory):
    """A broker that wants a login and allows only what was allowed."""
    with KafkaCluster(tmp_path_factory.mktemp("guarded"), sasl=USERS, authorizer=True) as cluster:
        for resource, name in (("topic", "*"), ("group", "*"), ("cluster", "kafka-cluster")):
            cluster.allow("alice", "all", resource, name)
        yield cluster


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_the_right_password_is_let_in_and_a_wrong_one_is_not(guarded, mechanism, caplog):
    right = _login("alice", "right", mechanism)
    topic = await _topic(guarded.bootstrap, **right)
    async with _producer(guarded.bootstrap, **right) as producer:
        await producer.send_and_wait(topic, b"a")
    assert await _consume(guarded.bootstrap, topic, 1, **right) == [b"a"]
    with caplog.at_level("ERROR", logger="aiokafka"), pytest.raises(KafkaConnectionError):
        async with _producer(guarded.bootstrap, **_login("alice", "wrong", mechanism)):
            pass
    assert "Authentication failed" in caplog.text


async def test_without_a_login_nobody_gets_in(guarded):
    with pytest.raises(KafkaConnectionError):
        async with _producer(guarded.bootstrap, request_timeout_ms=1000):
            pass


async def test_what_is_not_allowed_is_refused_until_it_is(guarded):
    topic = await _topic(guarded.bootstrap, **_login("alice", "right"))

    async def produce():
        async with _producer(guarded.bootstrap, **_login("bob", "also-right")) as producer:
            await producer.send_and_wait(topic, b"b")

    with pytest.raises(ClusterAuthorizationFailedError):  # who may write nowhere gets no producer id either
        await produce()
    guarded.allow("bob", "idempotent_write", "cluster", "kafka-cluster")
    with pytest.raises(TopicAuthorizationFailedError):
        await produce()
    guarded.allow("bob", "write", "topic", topic)
    await produce()
    guarded.deny("bob", "write", "topic", topic)
    with pytest.raises(TopicAuthorizationFailedError):
        await produce()
    guarded.forget("bob")
    guarded.allow("bob", "all", "topic")
    await produce()


async def test_tls_is_spoken_to_those_who_know_the_authority(kafka_here, tmp_path):
    required = {"listener.name.client.ssl.client.auth": "required"}
    with KafkaCluster(tmp_path / "kafka", tls=True, settings=required) as secret:
        made = secret.certificates
        knows = ssl.create_default_context(cafile=made.ca)
        with pytest.raises(KafkaConnectionError):  # it has no certificate to show
            async with _producer(secret.bootstrap, security_protocol="SSL", ssl_context=knows):
                pass
        knows.load_cert_chain(made.certificate, made.key)
        tls = {"security_protocol": "SSL", "ssl_context": knows}
        topic = await _topic(secret.bootstrap, **tls)
        async with _producer(secret.bootstrap, **tls) as producer:
            await producer.send_and_wait(topic, b"a")
        assert await _consume(secret.bootstrap, topic, 1, **tls) == [b"a"]
        with pytest.raises(KafkaConnectionError):
            async with _producer(secret.bootstrap, security_protocol="SSL", ssl_context=ssl.create_default_context()):
                pass


async def test_a_broker_comes_back_with_its_data_where_it_was(kafka_here, tmp_path):
    with KafkaCluster(tmp_path / "kafka") as cluster:
        topic = await _topic(cluster.bootstrap)
        async with _producer(cluster.bootstrap) as producer:
            for number, end in enumerate((cluster.stop, cluster.kill)):
                await producer.send_and_wait(topic, b"%d" % number)
                await asyncio.to_thread(end)
                assert not cluster.running()
                await asyncio.to_thread(cluster.start)
            cluster.pause()
            frozen = asyncio.ensure_future(producer.send_and_wait(topic, b"2"))
            await asyncio.wait([frozen], timeout=0.5)
            assert not frozen.done()
            cluster.resume()
            async with asyncio.timeout(20):
                await frozen
        assert await _consume(cluster.bootstrap, topic, 3) == [b"0", b"1", b"2"]
    with pytest.raises(RuntimeError, match="isn't running"):
        cluster.pid()
    assert not (tmp_path / "kafka" / "broker-1" / "data").exists()


def test_no_broker_outlives_a_killed_test_run(kafka_here, tmp_path):
    program = """
import os, pathlib, sys
from tests.servers.kafka_cluster import KafkaCluster
with KafkaCluster(pathlib.Path(sys.argv[1])) as cluster:
    print(cluster.pid(), flush=True)
    os.kill(os.getpid(), 9)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "kafka"], cwd=ROOT, capture_output=True, check=False
    )
    assert ran.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while _runs(int(ran.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_three_brokers_go_on_without_one(kafka_here, tmp_path):
    with KafkaCluster(tmp_path / "kafka", 3) as cluster:
        topic = await _topic(cluster.bootstrap, replicas=3)
        async with _producer(cluster.bootstrap) as producer:
            leader = await _leader(cluster.bootstrap, topic)
            await producer.send_and_wait(topic, b"0", partition=0)
            await asyncio.to_thread(cluster.kill, leader)
            async with asyncio.timeout(20):
                await producer.send_and_wait(topic, b"1", partition=0)
            assert await _leader(cluster.bootstrap, topic) != leader
            assert await _consume(cluster.bootstrap, topic, 2) == [b"0", b"1"]
            await asyncio.to_thread(cluster.start, leader)
            await producer.send_and_wait(topic, b"2", partition=0)
        assert await _consume(cluster.bootstrap, topic, 3) == [b"0", b"1", b"2"]
