"""`butterfly kafka init` and the check of the topics, on real brokers."""

import asyncio
import itertools
import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from click.testing import CliRunner

from collector.batch import Signal
from collector.cli import main
from collector.component.connector import Reader
from collector.connectors.kafka.connection import connection
from collector.connectors.kafka.options import BATCH_OVERHEAD, KafkaOptions
from collector.connectors.kafka.topic_plan import Gravity
from collector.connectors.kafka.topics import administration, check, create
from collector.errors import StorageError
from tests.servers.kafka_cluster import KafkaCluster, kafka_jars

READERS = (Reader("traces/sample", Signal.TRACES),)
TRACES = frozenset({Signal.TRACES})
USERS = {"alice": "wonderland", "root": "hunter2"}
WRONG = "rabbit-hole"
PARTS = '''
from collector.api import DurableConnector, Exporter, Lookahead, Options, Receiver
from collector.connectors.kafka.options import KafkaOptions

class In(Receiver):
    """Takes."""

class Out(Exporter):
    """Sends."""

class Ahead(Lookahead):
    """Decides."""

class Kafka(DurableConnector):
    """Keeps."""
    Config = KafkaOptions
'''
numbers = itertools.count()


def named(cluster, **given):
    """Options with topics that are this test's alone; those of one test share a prefix."""
    prefix = f"init-{next(numbers)}"
    topics = {signal: {"topic": f"{prefix}-{signal}"} for signal in ("traces", "metrics", "logs")}
    mine = {"decisions_topic": f"{prefix}-decisions", "quarantine_topic": f"{prefix}-quarantine"}
    return {"brokers": cluster.bootstrap, "partitions": 4, **topics, **mine, **given}


def options(cluster, **given):
    return KafkaOptions.model_validate(named(cluster, **given))


@pytest.fixture
def init(tmp_path):
    """Runs the command on a file with one connector of the given options."""

    def run(given, *flags):
        (tmp_path / "parts.py").write_text(PARTS)
        pipelines = {
            "traces/in": {"receivers": ["./parts.py:In"], "exporters": ["./parts.py:Kafka"]},
            "traces/out": {
                "receivers": ["./parts.py:Kafka"],
                "processors": ["./parts.py:Ahead"],
                "exporters": ["./parts.py:Out"],
            },
        }
        config = {
            "receivers": {"./parts.py:In": None},
            "processors": {"./parts.py:Ahead": None},
            "exporters": {"./parts.py:Out": None},
            "connectors": {"./parts.py:Kafka": given},
            "service": {"pipelines": pipelines},
        }
        (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(config))
        found = CliRunner().invoke(main, ["kafka", "init", "-c", str(tmp_path / "gateway.yaml"), *flags])
        assert not [secret for secret in (*USERS.values(), WRONG) if secret in found.output]
        assert "Traceback" not in found.output
        return found.exit_code, found.stdout.replace("./parts.py:Kafka: ", ""), found.stderr

    return run


def test_a_first_run_creates_and_a_second_finds_everything_as_it_should_be(kafka, init):
    given = named(kafka)
    names = [given["traces"]["topic"], f"{given['decisions_topic']}-traces-out", given["quarantine_topic"]]
    shapes = [f"(partitions: {count}, replication factor: 1)" for count in (4, 4, 1)]
    would = "".join(f"{name}: would be created {shape}\n" for name, shape in zip(names, shapes, strict=True))
    did = would.replace("would be created", "created")
    exist = "".join(f"{name}: exists, as configured\n" for name in names)
    assert init(given, "--dry-run") == (0, would, "")
    assert init(given, "--dry-run") == (0, would, "")
    assert init(given) == (0, did, "")
    assert init(given) == (0, exist, "")
    assert init(given, "--dry-run") == (0, exist, "")


async def test_the_settings_are_what_the_broker_was_told(kafka):
    config = options(kafka, topics={"retention": "8h", "segment_bytes": "2MiB"})
    async with administration(config) as admin:
        states = await create(config, Signal, READERS, admin=admin)
        assert [each.state for each in states] == ["created"] * 5
        found = await topics_settings(admin, [each.plan for each in states])
    for each in states:
        assert found[each.plan.name] == dict(each.plan.settings)


async def topics_settings(admin, plans):
    resources = [ConfigResource(ConfigResourceType.TOPIC, each.name, dict(each.settings)) for each in plans]
    (answer,) = await admin.describe_configs(resources)
    return {name: {key: value for key, value, *_ in entries} for _, _, _, name, entries in answer.resources}


async def test_the_largest_record_fits_and_its_time_is_the_brokers(kafka):
    config = options(kafka, producer={"max_message_bytes": "200KiB"})
    await create(config, TRACES, READERS)
    largest = config.producer.max_message_bytes
    arguments = connection(config)
    producer = AIOKafkaProducer(**arguments, acks="all", max_request_size=10 << 20)
    await producer.start()
    try:
        headers = [("butterfly-tenant", b"t" * 255), ("butterfly-signal", b"traces")]
        for topic in (config.traces.topic, config.decisions(READERS[0]), config.quarantine_topic):
            await producer.send_and_wait(topic, os.urandom(largest), b"key", 0, timestamp_ms=1, headers=headers)
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(topic, os.urandom(largest + 3 * BATCH_OVERHEAD), b"key", 0)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(config.traces.topic, **arguments, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await consumer.getone()
    finally:
        await consumer.stop()
    assert len(record.value) == largest
    assert abs(record.timestamp / 1000 - time.time()) < 60


async def made_by_hand(config):
    """The data topic, as somebody else made it."""
    async with administration(config) as admin:
        settings = {"message.timestamp.type": "CreateTime", "retention.ms": "60000"}
        await admin.create_topics([NewTopic(config.traces.topic, 3, 1, topic_configs=settings)])


def test_a_topic_that_differs_is_told_and_not_altered(kafka, init):
    given = named(kafka)
    asyncio.run(made_by_hand(KafkaOptions.model_validate(given)))
    code, first, errors = init(given)
    assert (code, errors) == (1, "")
    line = first.splitlines()[0]
    assert line.startswith(f"{given['traces']['topic']}: exists, but has 3 partitions, expected 4: ")
    assert "has message.timestamp.type=CreateTime, expected LogAppendTime: run `kafka-configs.sh " in line
    assert "has retention.ms=60000, expected 86400000: run `kafka-configs.sh " in line
    code, second, _ = init(given)
    assert code == 1
    assert second.splitlines()[0] == line


async def test_what_is_said_to_mend_a_difference_mends_it(kafka):
    config = options(kafka)
    await create(config, TRACES, READERS)
    other = config.model_copy(update={"producer": config.producer.model_copy(update={"max_message_bytes": 1_020_000})})
    (found, *_) = await check(other, TRACES, READERS)
    assert found.what == "has max.message.bytes=1016384, expected at least 1036384"
    script, *arguments = shlex.split(found.remedy.split("`")[1])
    assert script == "kafka-configs.sh"
    tool = ["java", "-cp", f"{kafka_jars()}/*", "kafka.admin.ConfigCommand"]
    await asyncio.to_thread(subprocess.run, [*tool, *arguments], check=True, capture_output=True)
    assert config.traces.topic not in [each.topic for each in await check(other, TRACES, READERS)]


async def test_the_check_follows_what_happens_to_the_topics(kafka):
    config = options(kafka)
    async with administration(config) as admin:
        missing = await check(config, TRACES, READERS, admin=admin)
        assert [each.what for each in missing] == ["is missing"] * 3
        await create(config, TRACES, READERS, admin=admin)
        assert await check(config, TRACES, READERS, admin=admin) == []
        await admin.delete_topics([config.decisions(READERS[0])])
        async with asyncio.timeout(10):
            while not (found := await check(config, TRACES, READERS, admin=admin)):
                await asyncio.sleep(0.01)
        (gone,) = found
        assert (gone.topic, gone.what, gone.gravity) == (config.decisions(READERS[0]), "is missing", Gravity.FATAL)


def test_more_replicas_than_there_are_brokers(kafka, init):
    given = named(kafka, topics={"replication_factor": 3, "min_insync_replicas": 2})
    code, told, errors = init(given, "--dry-run")
    assert (code, errors) == (1, "")
    assert told.count(": would not be created: invalid replication factor: Unable to replicate") == 3


@pytest.fixture(scope="module")
def guarded(kafka_here, tmp_path_factory):
    """A broker with TLS, passwords and permissions, that would also create whatever topic it is asked about."""
    settings = {"auto.create.topics.enable": "true"}
    folder = tmp_path_factory.mktemp("guarded")
    with KafkaCluster(folder, sasl=USERS, tls=True, authorizer=True, settings=settings) as cluster:
        for resource, name in (("topic", "*"), ("cluster", "kafka-cluster")):
            cluster.allow("root", "all", resource, name)
        yield cluster


def logged_in(cluster, user, *, mechanism="SCRAM-SHA-256", password=None, **given):
    sasl = {"mechanism": mechanism, "username": user, "password": password or USERS[user]}
    return named(cluster, **{"auth": {"sasl": sasl}, "tls": {"ca_file": str(cluster.certificates.ca)}, **given})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_each_mechanism_over_tls(guarded, init, mechanism):
    code, told, errors = init(logged_in(guarded, "root", mechanism=mechanism))
    assert (code, errors) == (0, "")
    assert told.count(": created (") == 3


async def test_asking_makes_no_topic_where_brokers_make_any(guarded):
    config = KafkaOptions.model_validate(logged_in(guarded, "root"))
    for _ in range(2):
        assert [each.what for each in await check(config, TRACES, READERS)] == ["is missing"] * 3


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_one_sentence(guarded, init, mechanism):
    found = init(logged_in(guarded, "root", mechanism=mechanism, password=WRONG))
    assert found == (1, "", "error: ./parts.py:Kafka: the brokers refuse the user or the password of auth.sasl\n")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"auth": None}, "{} hangs up: it may expect auth, a certificate of ours, or no tls"),
        ({"tls": None}, "{} hangs up: it may expect tls, or no auth"),
        ({"tls": None, "auth": None}, "{} hangs up: it may expect tls or auth"),
        ({"tls": {}}, "{} has a certificate that isn't trusted (unable to get local issuer certificate): check tls"),
    ],
    ids=str,
)
async def test_the_wrong_way_to_talk_to_a_broker_is_one_sentence(guarded, given, sentence):
    config = KafkaOptions.model_validate({**logged_in(guarded, "root"), **given})
    with pytest.raises(StorageError) as refused:
        await check(config, TRACES, READERS)
    assert str(refused.value) == sentence.format(guarded.bootstrap[0])


def test_what_permissions_lack_is_said_one_by_one(guarded, init):
    given = logged_in(guarded, "alice")
    code, told, errors = init(given)
    assert (code, errors) == (1, "")
    assert told.count(": not created: is hidden from this user: allow Describe on it\n") == 3

    guarded.allow("alice", "describe", "topic")
    code, told, errors = init(given)
    assert (code, errors) == (1, "")
    assert told.count(": not created: denied: allow Create on it, or on the cluster, to this user\n") == 3

    guarded.allow("alice", "create", "topic")
    code, told, errors = init(given)
    assert (code, errors, told.count(": created (")) == (0, "", 3)

    code, told, errors = init(given)
    assert (code, errors) == (0, "")
    hidden = "exists, but doesn't show its settings (topic authorization failed)"
    assert told.count(f"{hidden}: its settings go unchecked; allow DescribeConfigs on it\n") == 3

    guarded.allow("alice", "describe_configs", "topic")
    code, told, errors = init(given)
    assert (code, errors, told.count("exists, as configured")) == (0, "", 3)


def until_stopped(pid):
    """The signal is under way to every thread of the process."""
    deadline = time.monotonic() + 5
    while {each.read_text().rpartition(") ")[2][0] for each in Path(f"/proc/{pid}/task").glob("*/stat")} != {"T"}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_frozen_broker_is_given_up(guarded, init, monkeypatch):
    monkeypatch.setattr("collector.connectors.kafka.connection._REQUEST_TIMEOUT_MS", 300)
    guarded.pause()
    try:
        until_stopped(guarded.pid())
        code, told, errors = init(logged_in(guarded, "root"))
    finally:
        guarded.resume()
    assert (code, told) == (1, "")
    assert errors == f"error: ./parts.py:Kafka: {guarded.bootstrap[0]} doesn't answer\n"


@pytest.mark.soak
async def test_three_brokers_of_which_one_dies(kafka_here, tmp_path):
    cluster = KafkaCluster(tmp_path / "three", 3)
    await asyncio.to_thread(cluster.__enter__)
    try:
        config = options(cluster, topics={"replication_factor": 3, "min_insync_replicas": 2})
        assert [each.state for each in await create(config, TRACES, READERS)] == ["created"] * 3
        await asyncio.to_thread(cluster.kill, 2)
        for _ in range(10):
            assert await check(config, TRACES, READERS) == []
    finally:
        await asyncio.to_thread(cluster.close)
