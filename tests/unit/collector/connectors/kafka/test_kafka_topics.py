from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError, LeaderNotAvailableError, NodeNotReadyError

from collector.batch import Signal
from collector.component.connector import Reader
from collector.connectors.kafka import topics
from collector.connectors.kafka.options import KafkaOptions
from collector.connectors.kafka.topic_plan import Gravity, plan
from collector.connectors.kafka.topics import check, create
from collector.errors import StorageError

TRACES = frozenset({Signal.TRACES})
READERS = (Reader("traces/a", Signal.TRACES), Reader("traces/plain", Signal.TRACES, journal=False))
NAMES = ["otlp_spans", "butterfly_decisions-traces-a", "butterfly_quarantine"]


def options(**given):
    return KafkaOptions.model_validate(given)


def planned(config, name):
    (found,) = [each for each in plan(config, Signal, READERS) if each.name == name]
    return found


class Brokers:
    """A cluster as the admin client shows it: topics by name, and error codes to answer with instead."""

    def __init__(self, *plans):
        self.topics = {each.name: (each.partitions, each.replication_factor, dict(each.settings)) for each in plans}
        self.metadata_codes = {}
        self.config_codes = {}
        self.create_codes = {}
        self.leaderless = 0
        self.rival = {}
        self.asked = []
        self.created = []
        self.fails = None
        self.failures = 0

    async def _send_request(self, request):
        if self.fails is not None:
            raise self.fails
        if self.failures:
            self.failures -= 1
            raise NodeNotReadyError
        self.asked.append(request)
        self.leaderless -= 1
        leader = -1 if self.leaderless >= 0 else 1
        return SimpleNamespace(to_object=lambda: {"topics": [self._topic(name, leader) for name in request._topics]})

    def _topic(self, name, leader):
        partitions, replicas, _ = self.topics.get(name, (0, 0, {}))
        code = self.metadata_codes.get(name, 0 if name in self.topics else 3)
        each = {"leader": leader, "replicas": list(range(replicas))}
        return {"topic": name, "error_code": code, "partitions": [each] * partitions}

    async def describe_configs(self, resources):
        answers = []
        for each in resources:
            code = self.config_codes.get(each.name, 0)
            settings = self.topics[each.name][2]
            entries = [] if code else [(key, settings.get(key), False, 1, False, []) for key in each.configs]
            answers.append((code, None, 2, each.name, entries))
        return [SimpleNamespace(resources=answers)]

    async def create_topics(self, new, validate_only=False):
        if self.fails is not None:
            raise self.fails
        errors = []
        for each in new:
            code, message = self.create_codes.get(each.name, (0, None))
            errors.append((each.name, code, message))
            if code == 0 and not validate_only:
                self.created.append(each.name)
                self.topics[each.name] = (each.num_partitions, each.replication_factor, dict(each.topic_configs))
        self.topics |= self.rival
        return SimpleNamespace(topic_errors=errors)


async def test_topics_as_they_are_created_have_no_differences():
    config = options()
    assert await check(config, Signal, READERS, admin=Brokers(*plan(config, Signal, READERS))) == []


async def test_more_than_is_asked_for_is_no_difference():
    rich = options(topics={"replication_factor": 3, "min_insync_replicas": 2}, producer={"max_message_bytes": "2MiB"})
    assert await check(options(), TRACES, READERS, admin=Brokers(*plan(rich, TRACES, READERS))) == []


async def test_asking_makes_no_broker_create_a_topic():
    brokers = Brokers()
    await check(options(), TRACES, READERS, admin=brokers)
    assert [each._allow_auto_topic_creation for each in brokers.asked] == [False]
    assert brokers.created == []


async def test_a_missing_topic_says_what_to_run():
    config = options()
    (found,) = await check(config, TRACES, READERS, admin=Brokers(*plan(config, TRACES, READERS)[1:]))
    assert str(found) == "topic otlp_spans is missing: run `butterfly kafka init -c FILE`"
    assert found.gravity is Gravity.FATAL


@pytest.mark.parametrize("topic", NAMES[:2])
async def test_another_number_of_partitions_is_fatal(topic):
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.topics[topic] = (9, 1, brokers.topics[topic][2])
    (found,) = await check(config, TRACES, READERS, admin=brokers)
    assert str(found).startswith(f"topic {topic} has 9 partitions, expected 8: ")
    assert found.gravity is Gravity.FATAL


async def test_the_quarantine_may_have_any_number_of_partitions():
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.topics["butterfly_quarantine"] = (5, 1, brokers.topics["butterfly_quarantine"][2])
    assert await check(config, TRACES, READERS, admin=brokers) == []


async def test_too_few_replicas_are_notable():
    poor = Brokers(*plan(options(), TRACES, READERS))
    found = await check(options(topics={"replication_factor": 3}), TRACES, READERS, admin=poor)
    assert [each.topic for each in found] == NAMES
    assert {each.gravity for each in found} == {Gravity.NOTABLE}
    assert found[0].what == "has 1 replica of each partition, expected 3"


@pytest.mark.parametrize(
    ("topic", "key", "value", "expected", "gravity"),
    [
        ("otlp_spans", "cleanup.policy", "compact", "delete", Gravity.FATAL),
        ("butterfly_decisions-traces-a", "cleanup.policy", "delete", "compact", Gravity.FATAL),
        ("otlp_spans", "message.timestamp.type", "CreateTime", "LogAppendTime", Gravity.FATAL),
        ("otlp_spans", "max.message.bytes", "1000", "at least 1016384", Gravity.FATAL),
        ("otlp_spans", "retention.ms", "60000", "86400000", Gravity.NOTABLE),
        ("otlp_spans", "retention.ms", "-1", "86400000", Gravity.NOTABLE),
        ("butterfly_quarantine", "retention.ms", "60000", "604800000", Gravity.NOTABLE),
        ("otlp_spans", "retention.bytes", "1000", "-1", Gravity.NOTABLE),
        ("otlp_spans", "unclean.leader.election.enable", "true", "false", Gravity.NOTABLE),
        ("otlp_spans", "min.insync.replicas", "0", "at least 1", Gravity.NOTABLE),
    ],
)
async def test_a_setting_that_differs_comes_with_the_command_that_mends_it(topic, key, value, expected, gravity):
    config = options(brokers=["kafka-1.example:9092"])
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.topics[topic][2][key] = value
    (found,) = await check(config, TRACES, READERS, admin=brokers)
    assert found.what == f"has {key}={value}, expected {expected}"
    assert found.gravity is gravity
    command = (
        "run `kafka-configs.sh --bootstrap-server kafka-1.example:9092 --entity-type topics"
        f" --entity-name {topic} --alter --add-config {key}={expected.removeprefix('at least ')}`"
    )
    assert found.remedy.startswith(command)


async def test_a_topic_that_can_never_be_written_is_fatal():
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.topics["otlp_spans"][2]["min.insync.replicas"] = "2"
    (found,) = await check(config, TRACES, READERS, admin=brokers)
    assert found.gravity is Gravity.FATAL
    assert "nothing can be written" in found.what


async def test_tuning_is_left_to_whoever_runs_the_brokers():
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    for _, _, settings in brokers.topics.values():
        settings |= {"segment.bytes": "1048576", "segment.ms": "1", "compression.type": "zstd"}
    assert await check(config, TRACES, READERS, admin=brokers) == []


async def test_settings_that_are_not_shown_are_left_out_and_the_rest_is_checked():
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.config_codes = dict.fromkeys(NAMES, 29)
    brokers.topics["otlp_spans"] = (3, 1, {})
    found = await check(config, TRACES, READERS, admin=brokers)
    assert [(each.topic, each.gravity) for each in found] == [
        ("otlp_spans", Gravity.FATAL),
        ("otlp_spans", Gravity.UNCHECKED),
        ("butterfly_decisions-traces-a", Gravity.UNCHECKED),
        ("butterfly_quarantine", Gravity.UNCHECKED),
    ]
    assert "allow DescribeConfigs" in found[1].remedy


async def test_a_topic_that_is_deleted_between_the_questions_is_missing():
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.config_codes = {"otlp_spans": 3}
    (found,) = await check(config, TRACES, READERS, admin=brokers)
    assert found.what == "is missing"


async def test_a_topic_that_is_hidden_is_not_called_missing():
    brokers = Brokers()
    brokers.metadata_codes = {"otlp_spans": 29}
    found = await check(options(), TRACES, READERS, admin=brokers)
    assert [each.what for each in found] == ["is hidden from this user", "is missing", "is missing"]
    states = await create(options(), TRACES, READERS, admin=brokers)
    assert [each.state for each in states] == ["refused", "created", "created"]


async def test_a_topic_whose_leader_is_just_being_elected_is_no_difference():
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.metadata_codes = {"otlp_spans": LeaderNotAvailableError.errno}
    with pytest.raises(StorageError, match="leader not available"):
        await check(config, TRACES, READERS, admin=brokers)


@pytest.mark.parametrize("error", [NodeNotReadyError(), TimeoutError(), OSError(), KafkaConnectionError()], ids=repr)
async def test_no_answer_is_a_storage_error(error, monkeypatch):
    monkeypatch.setattr(topics, "_LOOK_AGAIN_S", 0.0)
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.fails = error
    with pytest.raises(StorageError, match="no broker answers"):
        await check(config, TRACES, READERS, admin=brokers)


async def test_another_broker_is_asked_where_one_is_gone(monkeypatch):
    monkeypatch.setattr(topics, "_LOOK_AGAIN_S", 0.0)
    config = options()
    brokers = Brokers(*plan(config, TRACES, READERS))
    brokers.failures = 3
    assert await check(config, TRACES, READERS, admin=brokers) == []


async def test_what_is_missing_is_created_and_what_exists_is_left_alone(monkeypatch):
    monkeypatch.setattr(topics, "_LOOK_AGAIN_S", 0.0)
    config = options()
    brokers = Brokers(planned(config, "otlp_spans"))
    brokers.topics["otlp_spans"][2]["retention.ms"] = "1"
    states = await create(config, TRACES, READERS, admin=brokers)
    assert [each.state for each in states] == ["exists", "created", "created"]
    assert [each.what for each in states[0].differences] == ["has retention.ms=1, expected 86400000"]
    assert brokers.created == NAMES[1:]
    assert [each.state for each in await create(config, TRACES, READERS, admin=brokers)] == ["exists"] * 3
    assert brokers.created == NAMES[1:]


async def test_creating_waits_for_leaders(monkeypatch):
    monkeypatch.setattr(topics, "_LOOK_AGAIN_S", 0.0)
    brokers = Brokers()
    brokers.leaderless = 4
    await create(options(), TRACES, READERS, admin=brokers)
    assert len(brokers.asked) == 5


async def test_a_dry_run_creates_nothing():
    brokers = Brokers()
    states = await create(options(), TRACES, READERS, admin=brokers, dry_run=True)
    assert [each.state for each in states] == ["absent"] * 3
    assert (brokers.created, brokers.topics) == ([], {})


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (29, None, "denied: allow Create on it, or on the cluster, to this user"),
        (31, "no", "denied: allow Create on it, or on the cluster, to this user"),
        (38, "only 1\nbroker", "invalid replication factor: only 1broker"),
        (44, None, "policy violation"),
        (40, "x" * 1000, "invalid config: " + "x" * 300),
    ],
)
async def test_a_refusal_is_told_with_its_reason(code, message, reason):
    brokers = Brokers()
    brokers.create_codes = {"butterfly_decisions-traces-a": (code, message)}
    states = await create(options(), TRACES, READERS, admin=brokers)
    assert [each.state for each in states] == ["created", "refused", "created"]
    assert states[1].reason == reason


async def test_a_topic_that_somebody_else_creates_meanwhile_is_compared():
    brokers = Brokers()
    brokers.create_codes = {"otlp_spans": (36, "exists")}
    brokers.rival = {"otlp_spans": (2, 1, {})}
    states = await create(options(), TRACES, READERS, admin=brokers)
    assert [each.state for each in states] == ["exists", "created", "created"]
    assert states[0].differences[0].what == "has 2 partitions, expected 8"
