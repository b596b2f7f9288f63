"""What the `kafka` connector can be told, with the Collector's names where it has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, field_validator

from collector.batch import Signal
from collector.options import Duration, Options, Secret, Size, option, seconds
from collector.tls import ClientTlsOptions  # noqa: TC001 - pydantic needs the type at run time

if TYPE_CHECKING:
    from collector.component.connector import Reader

BATCH_OVERHEAD = 16 << 10
"""Bytes that a record batch may add to the payload of its one record: its own header and the record's headers, a
tenant's name among them. Compression adds nothing: where it doesn't help, aiokafka leaves the batch as it was."""

_MS = 10**6
_LARGEST_FETCH = 50 << 20
_BROKERS_LEAST_SESSION = seconds(6)
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def milliseconds(ns: int) -> int:
    """`ns` as Kafka counts time: whole milliseconds, never 0 for what isn't 0."""
    return max(ns // _MS, 1) if ns else 0


def _checked_broker(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or not 0 < int(match[2]) <= 65535:
        raise ValueError("expected host:port such as kafka-1.example:9092")
    return value


def _checked_topic(value: str) -> str:
    if not _TOPIC.fullmatch(value) or value in {".", ".."} or value.startswith("__"):
        raise ValueError("expected a topic name: letters, digits, '.', '_' and '-', at most 249, no '__' in front")
    return value


Broker = Annotated[str, AfterValidator(_checked_broker)]
Topic = Annotated[str, AfterValidator(_checked_topic)]


class SaslOptions(Options):
    """`auth.sasl`: who we are, to the brokers."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = option(about="How the password is proved.")
    username: str = option(about="Name of the user.", min_length=1)
    password: Secret = option(about="The user's password.", min_length=1)


class AuthOptions(Options):
    """`auth`: SASL is all there is; a client certificate goes to `tls`."""

    sasl: SaslOptions = option(about="User and password.")


class TracesOptions(Options):
    """`traces`: where spans are kept."""

    topic: Topic = option("otlp_spans", about="Topic of the traces.")
    encoding: Literal["otlp_proto"] = option("otlp_proto", about="What a record holds.")


class MetricsOptions(Options):
    """`metrics`: where data points are kept."""

    topic: Topic = option("otlp_metrics", about="Topic of the metrics.")
    encoding: Literal["otlp_proto"] = option("otlp_proto", about="What a record holds.")


class LogsOptions(Options):
    """`logs`: where log records are kept."""

    topic: Topic = option("otlp_logs", about="Topic of the logs.")
    encoding: Literal["otlp_proto"] = option("otlp_proto", about="What a record holds.")


class ProducerOptions(Options):
    """`producer`: what is sent to the brokers, and when."""

    max_message_bytes: Size = option(
        1_000_000, about="Bytes of one record's payload; larger requests are split.", ge=1 << 10, le=512 << 20
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = option("zstd", about="How records are compressed.")
    linger: Duration = option(25 * _MS, about="Longest time that a record waits for others.", le=seconds(1))
    max_pending: Size = option(
        64 << 20, about="Bytes that wait for the brokers; beyond, senders are told to wait.", ge=1 << 20
    )


class TopicsOptions(Options):
    """`topics`: how `butterfly kafka init` makes them, and what is expected of them at start."""

    replication_factor: int = option(1, about="Brokers that hold each partition.", ge=1, le=1000)
    min_insync_replicas: int = option(1, about="Of them, those that must have a record before it counts.", ge=1)
    retention: Duration = option(
        seconds(24 * 3600), about="How long telemetry stays; what isn't read by then is lost.", ge=seconds(60)
    )
    segment_bytes: Size = option(
        64 << 20, about="Bytes of one file of a data topic; space is freed a file at a time.", ge=1 << 20, le=2**31 - 1
    )
    quarantine_retention: Duration = option(
        seconds(168 * 3600), about="How long records stay that can't be read.", ge=seconds(60)
    )


class KafkaOptions(Options):
    """Options of `kafka`."""

    model_config = ConfigDict(hide_input_in_errors=True)  # `auth` holds a secret

    brokers: tuple[Broker, ...] = option(("127.0.0.1:9092",), about="Addresses to begin with.", min_length=1)
    client_id: str = option("butterfly", about="How the brokers' logs and quotas call us.", pattern=r"^[!-~]{1,249}$")
    group_id: str = option(
        "butterfly", about="Consumer groups are called this and the reading pipeline.", pattern=r"^[!-~]{1,249}$"
    )
    group_instance_id: str = option(
        "",
        about="A name that is this member's alone and outlives a restart, which then moves no partitions.",
        pattern=r"^([a-zA-Z0-9._-]{1,249})?$",
    )
    initial_offset: Literal["earliest", "latest"] = option(
        "earliest", about="Where a group begins that never committed."
    )
    session_timeout: Duration = option(
        seconds(6), about="Silence after which a member counts as dead.", ge=seconds(1), le=seconds(1800)
    )
    heartbeat_interval: Duration = option(
        seconds(2), about="Time between a member's signs of life.", ge=100 * _MS, le=seconds(600)
    )
    rebalance_timeout: Duration = option(
        seconds(10), about="Time that members have to let go of partitions.", ge=seconds(1), le=seconds(3600)
    )
    tls: ClientTlsOptions | None = option(None, about="Encryption; plaintext without it.")
    auth: AuthOptions | None = option(None, about="Who we are; nobody without it.")
    traces: TracesOptions = option(TracesOptions(), about="Topic and encoding of traces.")
    metrics: MetricsOptions = option(MetricsOptions(), about="Topic and encoding of metrics.")
    logs: LogsOptions = option(LogsOptions(), about="Topic and encoding of logs.")
    decisions_topic: Topic = option(
        "butterfly_decisions", about="Topics of the sampling verdicts are called this and the reading pipeline."
    )
    quarantine_topic: Topic = option("butterfly_quarantine", about="Topic of the records that can't be read.")
    partitions: int = option(8, about="Partitions of each data topic and of the verdicts, exactly.", ge=1, le=4096)
    timeout: Duration = option(
        seconds(5), about="Time for a write, after which its senders are told to come again.", gt=0, le=seconds(600)
    )
    producer: ProducerOptions = option(ProducerOptions(), about="What is sent to the brokers, and when.")
    min_fetch_size: Size = option(1 << 20, about="Bytes that a broker waits for before it answers.", ge=1, le=2**31 - 1)
    default_fetch_size: Size = option(1 << 20, about="Bytes of one partition in one answer.", ge=1 << 10, le=2**31 - 1)
    max_fetch_size: Size = option(_LARGEST_FETCH, about="Bytes of one answer; 0 is the default.", le=2**31 - 1)
    max_fetch_wait: Duration = option(200 * _MS, about="Longest time that a broker waits for them.", le=seconds(60))
    recent_bytes: Size = option(
        64 << 20,
        about="Bytes of the newest records, of all partitions, that are kept in memory for the second reading.",
    )
    topics: TopicsOptions = option(TopicsOptions(), about="How the topics are made.")

    @field_validator("brokers", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        """One variable often holds all addresses, with commas between them."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            return value
        return [address.strip() for item in items for address in item.split(",")]

    @property
    def encrypted(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls is not None and not self.tls.insecure

    @property
    def fetch_bytes(self) -> int:
        """Bytes of one answer to a fetch: `max_fetch_size`, where 0 (the Collector's "no limit") is the default."""
        return self.max_fetch_size or _LARGEST_FETCH

    def topic(self, signal: Signal) -> str:
        """The data topic of `signal`."""
        topics = {
            Signal.TRACES: self.traces.topic,
            Signal.METRICS: self.metrics.topic,
            Signal.LOGS: self.logs.topic,
        }
        return topics[signal]

    def group(self, reader: Reader) -> str:
        """The consumer group of `reader`: each has one of its own, and every process of the file knows it."""
        return f"{self.group_id}-{reader.name}"

    def decisions(self, reader: Reader) -> str:
        """The decisions topic of `reader`: a journal must be alone in its partitions."""
        return f"{self.decisions_topic}-{reader.name}"


_LONGEST_DECISIONS_TOPIC = 249 - 101

_Findings = list[tuple[tuple[str | int, ...], str]]


def problems(config: KafkaOptions) -> _Findings:
    """Combinations that can't work: (path below the connector, sentence)."""
    return [*_about_security(config), *_about_topics(config), *_about_sizes(config), *_about_time(config)]


def warnings(config: KafkaOptions) -> _Findings:
    """What runs but is surely not meant, in the same shape."""
    found: _Findings = []
    if config.auth is not None and config.auth.sasl.mechanism == "PLAIN" and not config.encrypted:
        found.append((("auth", "sasl"), "PLAIN sends the password in the clear without tls"))
    if config.encrypted and config.tls is not None and config.tls.insecure_skip_verify:
        found.append((("tls", "insecure_skip_verify"), "anybody can pose as a broker"))
    if config.topics.replication_factor > 1 and config.topics.min_insync_replicas == 1:
        sentence = "1 means that a record counts when one broker has it: losing that one loses what was acknowledged"
        found.append((("topics", "min_insync_replicas"), sentence))
    if config.topics.min_insync_replicas == config.topics.replication_factor > 1:
        sentence = "as many as replication_factor: nothing can be written while any broker is away"
        found.append((("topics", "min_insync_replicas"), sentence))
    if config.session_timeout < _BROKERS_LEAST_SESSION:
        sentence = "brokers refuse less than 6s unless their group.min.session.timeout.ms says otherwise"
        found.append((("session_timeout",), sentence))
    return found


def _about_security(config: KafkaOptions) -> _Findings:
    found: _Findings = []
    tls = config.tls
    if tls is not None and bool(tls.cert_file) != bool(tls.key_file):
        found.append((("tls",), "cert_file and key_file go together"))
    if tls is not None and tls.insecure and tls.configured:
        found.append((("tls", "insecure"), "says plaintext, but TLS is configured beside it: remove one"))
    return found


def _about_topics(config: KafkaOptions) -> _Findings:
    found: _Findings = []
    places = {
        ("traces", "topic"): config.traces.topic,
        ("metrics", "topic"): config.metrics.topic,
        ("logs", "topic"): config.logs.topic,
        ("decisions_topic",): config.decisions_topic,
        ("quarantine_topic",): config.quarantine_topic,
    }
    owners: dict[str, str] = {}
    for path, topic in places.items():
        # Kafka makes no distinction between dots and underscores in the names of its metrics, and refuses such pairs.
        owner = owners.setdefault(topic.replace(".", "_"), ".".join(path))
        if owner != ".".join(path):
            found.append((path, f"is the topic of {owner} already (dots count as underscores)"))
    if len(config.decisions_topic) > _LONGEST_DECISIONS_TOPIC:
        sentence = f"longer than {_LONGEST_DECISIONS_TOPIC}: a reading pipeline's name comes behind it"
        found.append((("decisions_topic",), sentence))
    if config.topics.min_insync_replicas > config.topics.replication_factor:
        found.append((("topics", "min_insync_replicas"), "more than replication_factor: nothing could be written"))
    return found


def _about_sizes(config: KafkaOptions) -> _Findings:
    found: _Findings = []
    largest = config.producer.max_message_bytes
    if config.default_fetch_size < largest:
        found.append((("default_fetch_size",), "less than producer.max_message_bytes: a record must fit"))
    if config.fetch_bytes < config.default_fetch_size:
        found.append((("max_fetch_size",), "less than default_fetch_size"))
    if config.min_fetch_size > config.fetch_bytes:
        found.append((("min_fetch_size",), "more than max_fetch_size: every read would wait max_fetch_wait"))
    if config.producer.max_pending < largest:
        found.append((("producer", "max_pending"), "less than producer.max_message_bytes: a record must fit"))
    if config.topics.segment_bytes < largest + BATCH_OVERHEAD:
        sentence = f"a record of producer.max_message_bytes with {BATCH_OVERHEAD} bytes around it must fit"
        found.append((("topics", "segment_bytes"), sentence))
    return found


def _about_time(config: KafkaOptions) -> _Findings:
    found: _Findings = []
    if config.heartbeat_interval * 2 >= config.session_timeout:
        found.append((("heartbeat_interval",), "expected less than half of session_timeout: one may get lost"))
    if config.producer.linger >= config.timeout:
        found.append((("producer", "linger"), "expected less than timeout"))
    return found
