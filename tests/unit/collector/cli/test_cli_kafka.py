import socket

import pytest
import yaml
from click.testing import CliRunner

from collector.batch import Signal
from collector.cli import kafka as kafka_command
from collector.cli import main
from collector.connectors.kafka.topic_plan import Difference, Gravity, plan
from collector.connectors.kafka.topics import TopicState
from collector.errors import ConfigError, StorageError

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
GATEWAY = {
    "receivers": {"./parts.py:In": None},
    "processors": {"./parts.py:Ahead": None},
    "exporters": {"./parts.py:Out": None},
    "connectors": {
        "./parts.py:Kafka/a": {
            "brokers": ["kafka.example:9092"],
            "auth": {"sasl": {"mechanism": "SCRAM-SHA-256", "username": "alice", "password": "wonderland"}},
        },
        "./parts.py:Kafka/b": {"brokers": ["other.example:9092"], "partitions": 2},
    },
    "service": {
        "pipelines": {
            "traces/in": {"receivers": ["./parts.py:In"], "exporters": ["./parts.py:Kafka/a"]},
            "traces/out": {
                "receivers": ["./parts.py:Kafka/a"],
                "processors": ["./parts.py:Ahead"],
                "exporters": ["./parts.py:Out"],
            },
            "logs/in": {"receivers": ["./parts.py:In"], "exporters": ["./parts.py:Kafka/b"]},
            "logs/out": {"receivers": ["./parts.py:Kafka/b"], "exporters": ["./parts.py:Out"]},
        }
    },
}
A, B = GATEWAY["connectors"]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(GATEWAY))
    return str(path)


@pytest.fixture
def made(monkeypatch):
    """Instead of brokers: what was asked for, and by topic what `create` answers (created, if nothing is said)."""

    class Made:
        def __init__(self):
            self.asked = []
            self.states = {}
            self.error = None

        async def create(self, options, signals, readers, *, dry_run):
            self.asked.append((options.brokers[0], sorted(signal.value for signal in signals), dry_run))
            if self.error is not None:
                raise self.error
            state = "absent" if dry_run else "created"
            plans = plan(options, signals, readers)
            return [TopicState(each, **self.states.get(each.name, {"state": state})) for each in plans]

    made = Made()
    monkeypatch.setattr(kafka_command, "create", made.create)
    return made


def init(*arguments):
    return CliRunner().invoke(main, ["kafka", "init", *arguments])


def test_every_connector_gets_the_topics_of_its_pipelines(file, made):
    found = init("-c", file)
    assert (found.exit_code, found.stderr) == (0, "")
    assert made.asked == [
        ("kafka.example:9092", ["traces"], False),
        ("other.example:9092", ["logs"], False),
    ]
    assert found.stdout.splitlines() == [
        f"{A}: otlp_spans: created (partitions: 8, replication factor: 1)",
        f"{A}: butterfly_decisions-traces-out: created (partitions: 8, replication factor: 1)",
        f"{A}: butterfly_quarantine: created (partitions: 1, replication factor: 1)",
        f"{B}: otlp_logs: created (partitions: 2, replication factor: 1)",
        f"{B}: butterfly_quarantine: created (partitions: 1, replication factor: 1)",
    ]


def test_one_connector_can_be_chosen(file, made):
    assert init("-c", file, "--connector", B).exit_code == 0
    assert [broker for broker, _, _ in made.asked] == ["other.example:9092"]


def test_a_dry_run_says_what_would_be_done(file, made):
    found = init("-c", file, "--connector", A, "--dry-run")
    assert found.exit_code == 0
    assert made.asked == [("kafka.example:9092", ["traces"], True)]
    assert f"{A}: otlp_spans: would be created (partitions: 8, replication factor: 1)\n" in found.stdout


def test_a_connector_that_no_pipeline_uses_gets_all_topics():
    from types import SimpleNamespace

    config = SimpleNamespace(pipelines={})
    assert kafka_command._signals(config, "kafka") == frozenset(Signal)


def test_topics_that_exist_are_told_with_their_differences(file, made):
    fatal = Difference("otlp_spans", "has 3 partitions, expected 8", "make it anew", Gravity.FATAL)
    notable = Difference("otlp_spans", "has retention.ms=1, expected 2", "run this", Gravity.NOTABLE)
    made.states = {
        "otlp_spans": {"state": "exists", "differences": (fatal, notable)},
        "butterfly_decisions-traces-out": {"state": "exists"},
    }
    found = init("-c", file, "--connector", A)
    assert found.exit_code == 1
    assert found.stdout.splitlines()[:2] == [
        f"{A}: otlp_spans: exists, but {fatal.what}: make it anew; {notable.what}: run this",
        f"{A}: butterfly_decisions-traces-out: exists, as configured",
    ]


@pytest.mark.parametrize(("gravity", "code"), [(Gravity.FATAL, 1), (Gravity.NOTABLE, 1), (Gravity.UNCHECKED, 0)])
def test_every_difference_that_could_be_seen_is_a_failure(file, made, gravity, code):
    difference = Difference("otlp_logs", "differs", "mend it", gravity)
    made.states = {"otlp_logs": {"state": "exists", "differences": (difference,)}}
    assert init("-c", file).exit_code == code


@pytest.mark.parametrize(("flags", "words"), [((), "not created"), (("--dry-run",), "would not be created")])
def test_a_refusal_is_a_failure_and_the_other_connectors_are_still_prepared(file, made, flags, words):
    made.states = {"otlp_spans": {"state": "refused", "reason": "denied: ask somebody"}}
    found = init("-c", file, *flags)
    assert found.exit_code == 1
    assert f"{A}: otlp_spans: {words}: denied: ask somebody\n" in found.stdout
    assert len(made.asked) == 2


def test_brokers_that_cannot_be_reached_are_one_sentence(file, made):
    made.error = StorageError("kafka.example:9092 can't be reached (Connection refused)")
    found = init("-c", file, "--connector", A)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == f"error: {A}: kafka.example:9092 can't be reached (Connection refused)\n"


def test_a_file_of_tls_that_cannot_be_read_is_one_sentence(file, made):
    made.error = ConfigError(["tls.ca_file can't be read: No such file or directory"])
    found = init("-c", file)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "error: tls.ca_file can't be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--connector", "kafka"), f"there is no kafka connector 'kafka' (kafka connectors: {A}, {B})"),
        (
            ("--connector", "./parts.py:Out"),
            f"there is no kafka connector './parts.py:Out' (kafka connectors: {A}, {B})",
        ),
    ],
)
def test_a_connector_that_is_not_there(file, made, flags, sentence):
    found = init("-c", file, *flags)
    assert found.exit_code == 1
    assert found.stderr == f"error: {file}: {sentence}\n"
    assert made.asked == []


def test_a_configuration_without_kafka(tmp_path, made):
    (tmp_path / "parts.py").write_text(PARTS)
    path = tmp_path / "gateway.yaml"
    pipelines = {"traces": {"receivers": ["./parts.py:In"], "exporters": ["./parts.py:Out"]}}
    parts = {key: GATEWAY[key] for key in ("receivers", "exporters")}
    path.write_text(yaml.safe_dump({**parts, "service": {"pipelines": pipelines}}))
    found = init("-c", str(path))
    assert found.exit_code == 1
    assert found.stderr == f"error: {path}: there is no kafka connector (kafka connectors: none)\n"


def test_problems_of_the_file_are_told(file, made, tmp_path):
    broken = yaml.safe_dump(GATEWAY).replace("partitions: 2", "partitions: two")
    (tmp_path / "gateway.yaml").write_text(broken)
    found = init("-c", file)
    assert (found.exit_code, found.stdout) == (1, "")
    assert f"connectors.{B}.partitions: " in found.stderr
    assert made.asked == []


def test_nobody_at_the_address(file, tmp_path):
    """Nothing replaced: no broker, one sentence, no trace of where it happened."""
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        text = yaml.safe_dump(GATEWAY).replace("kafka.example:9092", f"127.0.0.1:{port}")
        (tmp_path / "gateway.yaml").write_text(text)
        found = init("-c", file, "--connector", A)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == f"error: {A}: 127.0.0.1:{port} can't be reached (Connection refused)\n"


def test_print_config_hides_the_password(file):
    found = CliRunner().invoke(main, ["print-config", "-c", file])
    assert found.exit_code == 0
    assert "wonderland" not in found.output
    sasl = yaml.safe_load(found.stdout)["connectors"][A]["auth"]["sasl"]
    assert sasl == {"mechanism": "SCRAM-SHA-256", "username": "alice", "password": "[REDACTED]"}


def test_what_print_config_shows_can_be_read_back(file, tmp_path):
    shown = CliRunner().invoke(main, ["print-config", "-c", file]).stdout
    (tmp_path / "again.yaml").write_text(shown)
    again = CliRunner().invoke(main, ["print-config", "-c", str(tmp_path / "again.yaml")])
    assert again.exit_code == 0
    assert yaml.safe_load(again.stdout)["connectors"] == yaml.safe_load(shown)["connectors"]


def test_help_names_the_command():
    assert "init" in CliRunner().invoke(main, ["kafka", "--help"]).stdout
    assert "\n  kafka " in CliRunner().invoke(main, ["--help"]).stdout
