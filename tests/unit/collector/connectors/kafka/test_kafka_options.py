import re
import ssl
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import ValidationError

from collector.batch import Signal
from collector.connectors.kafka.connection import connection, security_protocol
from collector.connectors.kafka.options import BATCH_OVERHEAD, KafkaOptions, milliseconds, problems, warnings
from collector.errors import ConfigError
from collector.options import Options, format_duration, format_size, seconds

PAGE = Path(__file__).parents[5] / "docs/components/kafka.md"
SASL = {"mechanism": "SCRAM-SHA-512", "username": "alice", "password": "wonderland"}


def options(**given):
    return KafkaOptions.model_validate(given)


def test_the_defaults_work_and_need_no_comment():
    config = options()
    assert problems(config) == []
    assert warnings(config) == []
    assert config.brokers == ("127.0.0.1:9092",)
    assert (config.traces.topic, config.metrics.topic, config.logs.topic) == ("otlp_spans", "otlp_metrics", "otlp_logs")
    assert (config.partitions, config.timeout, config.recent_bytes) == (8, seconds(5), 64 << 20)
    assert config.topics.retention == seconds(24 * 3600)


def defaults(config, prefix=""):
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Options):
            yield from defaults(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_page_has_the_defaults_of_the_code():
    rows = {}
    for row in re.findall(r"^\| (`.*)\|$", PAGE.read_text().partition("## Topics")[0], re.MULTILINE):
        names, default = row.split(" | ")[:2]
        rows |= dict.fromkeys(re.findall(r"`([^`]+)`", names), default.strip('`"'))
    for name, value in defaults(options()):
        texts = {str(value), *(value if isinstance(value, tuple) else ())}
        if isinstance(value, int):
            texts |= {format_duration(value), format_size(value)}
        if not value:
            texts = {"none", "plaintext"}
        assert rows[name] in texts, name


def test_each_signal_has_its_topic():
    config = options(traces={"topic": "t"}, metrics={"topic": "m"}, logs={"topic": "l"})
    assert [config.topic(signal) for signal in (Signal.TRACES, Signal.METRICS, Signal.LOGS)] == ["t", "m", "l"]


def test_a_topic_keeps_its_default_when_only_the_encoding_is_said():
    assert options(metrics={"encoding": "otlp_proto"}).metrics.topic == "otlp_metrics"


@pytest.mark.parametrize(
    "brokers",
    ["a.example:9092,b.example:9093", ["a.example:9092, b.example:9093"], ["a.example:9092", "b.example:9093"]],
)
def test_brokers_may_come_out_of_one_variable(brokers):
    assert options(brokers=brokers).brokers == ("a.example:9092", "b.example:9093")


def test_an_ipv6_broker_stands_in_brackets():
    assert options(brokers=["[::1]:9092"]).brokers == ("[::1]:9092",)


@pytest.mark.parametrize(
    "given",
    [
        {"brokers": []},
        {"brokers": ["nowhere"]},
        {"brokers": ["host:0"]},
        {"brokers": ["host:65536"]},
        {"brokers": ["kafka://host:9092"]},
        {"brokers": ["user:secret@host:9092"]},
        {"brokers": ["a:1,,b:2"]},
        {"brokers": [9092]},
        {"traces": {"topic": ""}},
        {"traces": {"topic": "a b"}},
        {"traces": {"topic": ".."}},
        {"traces": {"topic": "x" * 250}},
        {"decisions_topic": "__consumer_offsets"},
        {"quarantine_topic": "ä"},
        {"traces": {"encoding": "otlp_json"}},
        {"partitions": 0},
        {"initial_offset": "newest"},
        {"group_id": ""},
        {"group_instance_id": "no blanks"},
        {"session_timeout": "500ms"},
        {"timeout": "0"},
        {"producer": {"compression": "brotli"}},
        {"topics": {"segment_bytes": "64KiB"}},
        {"topics": {"replication_factor": 0}},
        {"auth": {}},
        {"auth": {"sasl": {**SASL, "mechanism": "GSSAPI"}}},
        {"auth": {"sasl": {**SASL, "password": ""}}},
        {"auth": {"sasl": {**SASL, "username": ""}}},
        {"bootstrap": "a:1"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(given):
    with pytest.raises(ValidationError):
        options(**given)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"heartbeat_interval": "3s"}, ("heartbeat_interval",)),
        ({"default_fetch_size": 999_999}, ("default_fetch_size",)),
        ({"max_fetch_size": "1MiB", "default_fetch_size": "2MiB"}, ("max_fetch_size",)),
        ({"min_fetch_size": "51MiB", "max_fetch_size": 0}, ("min_fetch_size",)),
        (
            {"producer": {"max_pending": "1MiB", "max_message_bytes": "2MiB"}, "default_fetch_size": "2MiB"},
            ("producer", "max_pending"),
        ),
        ({"producer": {"linger": "10ms"}, "timeout": "10ms"}, ("producer", "linger")),
        (
            {"topics": {"segment_bytes": "1MiB"}, "producer": {"max_message_bytes": (1 << 20) - BATCH_OVERHEAD + 1}},
            ("topics", "segment_bytes"),
        ),
        ({"topics": {"replication_factor": 2, "min_insync_replicas": 3}}, ("topics", "min_insync_replicas")),
        ({"logs": {"topic": "otlp_spans"}}, ("logs", "topic")),
        ({"decisions_topic": "otlp.spans"}, ("decisions_topic",)),
        ({"quarantine_topic": "butterfly_decisions"}, ("quarantine_topic",)),
        ({"tls": {"cert_file": "c.pem"}}, ("tls",)),
        ({"tls": {"insecure": True, "ca_file": "c.pem"}}, ("tls", "insecure")),
    ],
    ids=str,
)
def test_what_cannot_work_together_is_a_problem(given, path):
    assert [found for found, _ in problems(options(**given))] == [path]


def test_the_edges_of_those_problems_work():
    config = options(
        heartbeat_interval="2999ms",
        default_fetch_size=1_000_000,
        max_fetch_size=0,
        topics={"segment_bytes": "1MiB", "replication_factor": 3, "min_insync_replicas": 3},
        producer={"max_message_bytes": 1_000_000, "max_pending": "1MiB"},
    )
    assert problems(config) == []
    assert config.fetch_bytes == 50 << 20


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"auth": {"sasl": {**SASL, "mechanism": "PLAIN"}}}, ("auth", "sasl")),
        ({"auth": {"sasl": {**SASL, "mechanism": "PLAIN"}}, "tls": {"insecure": True}}, ("auth", "sasl")),
        ({"tls": {"insecure_skip_verify": True}}, ("tls", "insecure_skip_verify")),
        ({"topics": {"replication_factor": 3}}, ("topics", "min_insync_replicas")),
        ({"topics": {"replication_factor": 3, "min_insync_replicas": 3}}, ("topics", "min_insync_replicas")),
        ({"session_timeout": "5s"}, ("session_timeout",)),
    ],
    ids=str,
)
def test_what_is_surely_not_meant_is_a_warning(given, path):
    assert [found for found, _ in warnings(options(**given))] == [path]


def test_a_careful_configuration_has_no_warning():
    config = options(
        tls={},
        auth={"sasl": {**SASL, "mechanism": "PLAIN"}},
        topics={"replication_factor": 3, "min_insync_replicas": 2},
    )
    assert warnings(config) == []


def test_the_password_is_shown_nowhere():
    config = options(auth={"sasl": SASL})
    assert "wonderland" not in repr(config)
    assert "wonderland" not in str(config.model_dump(mode="json"))
    with pytest.raises(ValidationError) as refused:
        options(auth={"sasl": {**SASL, "mechanism": "GSSAPI"}}, brokers=["alice:wonderland@host:1"])
    assert "wonderland" not in str(refused.value)
    password = KafkaOptions.model_json_schema()["$defs"]["SaslOptions"]["properties"]["password"]
    assert password["format"] == "password"


@pytest.mark.parametrize(("ns", "ms"), [(0, 0), (1, 1), (999_999, 1), (10**6, 1), (seconds(6), 6000)])
def test_milliseconds_are_never_rounded_to_nothing(ns, ms):
    assert milliseconds(ns) == ms


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": {"insecure": True}}, "PLAINTEXT"),
        ({"tls": {}}, "SSL"),
        ({"auth": {"sasl": SASL}}, "SASL_PLAINTEXT"),
        ({"auth": {"sasl": SASL}, "tls": {}}, "SASL_SSL"),
    ],
    ids=str,
)
def test_the_protocol_follows_from_tls_and_auth(given, protocol):
    config = options(**given)
    assert security_protocol(config) == protocol
    arguments = connection(config)
    assert arguments["security_protocol"] == protocol
    assert ("ssl_context" in arguments) == ("SSL" in protocol.replace("SASL", ""))
    assert ("sasl_plain_password" in arguments) == protocol.startswith("SASL")


async def test_every_client_takes_the_arguments():
    arguments = connection(options(tls={}, auth={"sasl": SASL}))
    await AIOKafkaProducer(**arguments).stop()
    await AIOKafkaConsumer(**arguments).stop()
    await AIOKafkaAdminClient(**arguments).close()


def test_the_password_goes_to_the_client():
    arguments = connection(options(brokers=["a:1", "b:2"], client_id="me", auth={"sasl": SASL}))
    assert arguments["bootstrap_servers"] == ["a:1", "b:2"]
    assert arguments["client_id"] == "me"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("alice", "wonderland")


def test_certificates_are_checked_unless_that_is_turned_off():
    careful = connection(options(tls={}))["ssl_context"]
    assert (careful.verify_mode, careful.check_hostname) == (ssl.CERT_REQUIRED, True)
    careless = connection(options(tls={"insecure_skip_verify": True}))["ssl_context"]
    assert (careless.verify_mode, careless.check_hostname) == (ssl.CERT_NONE, False)
    named = connection(options(tls={"server_name_override": "broker"}))["ssl_context"]
    assert (named.verify_mode, named.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_that_cannot_be_read_is_named_by_its_option(tmp_path):
    with pytest.raises(ConfigError, match=r"^tls\.ca_file can't be read: No such file or directory$"):
        connection(options(tls={"ca_file": str(tmp_path / "secret-place.pem")}))
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match="no usable certificate"):
        connection(options(tls={"cert_file": str(tmp_path / "empty.pem"), "key_file": str(tmp_path / "empty.pem")}))
