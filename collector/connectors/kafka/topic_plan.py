"""What the connector's topics must look like, and how one that exists differs from that. No network here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from collector.batch import Signal
from collector.connectors.kafka.options import BATCH_OVERHEAD, milliseconds
from collector.options import seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from collector.component.connector import Reader
    from collector.connectors.kafka.options import KafkaOptions

INIT = "run `butterfly kafka init -c FILE`"


class Gravity(Enum):
    """What a difference means."""

    FATAL = "records would be lost or refused, or meet the wrong sampler"
    NOTABLE = "it works, but not as the configuration says"
    UNCHECKED = "it could not be looked at"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which `topic` is not as it should be. `what` says it, `remedy` what to do; both for a person."""

    topic: str
    what: str
    remedy: str
    gravity: Gravity

    def __str__(self) -> str:
        return f"topic {self.topic} {self.what}: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one setting of a topic must be: exactly `value`, or as a number no less than it. `option` is where the
    configuration says so, if it does.
    """

    value: str
    gravity: Gravity
    at_least: bool = False
    option: str = ""

    def holds(self, found: str) -> bool:
        """Whether `found` will do."""
        if not self.at_least:
            return found == self.value
        return found.lstrip("-").isdigit() and int(found) >= int(self.value)


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it is made: `settings` are Kafka's topic configurations. `rules` are those of them that are checked
    afterwards; the rest is for whoever runs the brokers to tune. `pinned` topics have exactly `partitions`.
    """

    name: str
    partitions: int
    replication_factor: int
    settings: Mapping[str, str]
    rules: Mapping[str, Rule]
    pinned: bool = True

    def missing(self) -> Difference:
        """There is no such topic."""
        return Difference(self.name, "is missing", INIT, Gravity.FATAL)

    def hidden(self) -> Difference:
        """We may not even ask whether there is such a topic."""
        return Difference(self.name, "is hidden from this user", "allow Describe on it", Gravity.FATAL)

    def shape_differences(self, partitions: int, replicas: int) -> list[Difference]:
        """Compare the numbers of a topic that exists; `replicas` is the smallest of its partitions'."""
        found = []
        if self.pinned and partitions != self.partitions:
            what = f"has {_plural(partitions, 'partition')}, expected {self.partitions}"
            remedy = "make it anew, or set partitions to what all data and decisions topics have"
            found.append(Difference(self.name, what, remedy, Gravity.FATAL))
        if replicas < self.replication_factor:
            what = f"has {_plural(replicas, 'replica')} of each partition, expected {self.replication_factor}"
            remedy = "add some with kafka-reassign-partitions.sh, or lower topics.replication_factor"
            found.append(Difference(self.name, what, remedy, Gravity.NOTABLE))
        return found

    def setting_differences(self, found: Mapping[str, str], replicas: int, broker: str) -> list[Difference]:
        """Compare the settings of a topic that exists; `broker` is an address for the command that mends one."""
        differences = []
        for key, rule in self.rules.items():
            value = found.get(key)
            if value is not None and not rule.holds(value):
                what = f"has {key}={value}, expected {'at least ' if rule.at_least else ''}{rule.value}"
                remedy = self._command(key, rule.value, broker) + (f", or change {rule.option}" if rule.option else "")
                differences.append(Difference(self.name, what, remedy, rule.gravity))
        insync = found.get("min.insync.replicas", "")
        if insync.isdigit() and int(insync) > replicas:
            what = f"has min.insync.replicas={insync}, but {_plural(replicas, 'replica')}: nothing can be written"
            remedy = self._command("min.insync.replicas", str(min(replicas, self.replication_factor)), broker)
            differences.append(Difference(self.name, what, remedy, Gravity.FATAL))
        return differences

    def unchecked(self, reason: str) -> Difference:
        """The settings can't be read."""
        remedy = "its settings go unchecked; allow DescribeConfigs on it"
        return Difference(self.name, f"doesn't show its settings ({reason})", remedy, Gravity.UNCHECKED)

    def _command(self, key: str, value: str, broker: str) -> str:
        where = f"--bootstrap-server {broker} --entity-type topics --entity-name {self.name}"
        return f"run `kafka-configs.sh {where} --alter --add-config {key}={value}`"


def plan(config: KafkaOptions, signals: Collection[Signal], readers: Collection[Reader] = ()) -> list[TopicPlan]:
    """The topics of a connector that carries `signals`: the data topics, the decisions topics of those of its `readers`
    that have a journal, the quarantine topic.
    """
    data = [_data(config, config.topic(signal)) for signal in Signal if signal in signals]
    deciding = [each for each in readers if each.journal and each.signal in signals]
    return [*data, *(_decisions(config, config.decisions(each)) for each in deciding), _quarantine(config)]


def _largest(config: KafkaOptions) -> int:
    return config.producer.max_message_bytes + BATCH_OVERHEAD


def _common(config: KafkaOptions, largest: int) -> dict[str, str]:
    return {
        "min.insync.replicas": str(config.topics.min_insync_replicas),
        "max.message.bytes": str(largest),
        # Stream time is the brokers': senders' clocks, and ours, decide nothing.
        "message.timestamp.type": "LogAppendTime",
        # A replica that lags must never become the leader: what it lacks was acknowledged.
        "unclean.leader.election.enable": "false",
        # As it came: brokers that unpack and pack again cost more than the network does.
        "compression.type": "producer",
    }


def _common_rules(settings: Mapping[str, str]) -> dict[str, Rule]:
    return {
        "cleanup.policy": Rule(settings["cleanup.policy"], Gravity.FATAL),
        "message.timestamp.type": Rule("LogAppendTime", Gravity.FATAL),
        "max.message.bytes": Rule(settings["max.message.bytes"], Gravity.FATAL, True, "producer.max_message_bytes"),
        "min.insync.replicas": Rule(
            settings["min.insync.replicas"], Gravity.NOTABLE, True, "topics.min_insync_replicas"
        ),
        "unclean.leader.election.enable": Rule("false", Gravity.NOTABLE),
    }


def _retained(config: KafkaOptions, largest: int, retention_ns: int) -> dict[str, str]:
    return _common(config, largest) | {
        "cleanup.policy": "delete",
        "retention.ms": str(milliseconds(retention_ns)),
        # Time alone: a limit in bytes would delete what nobody has read yet, just when there is much of it.
        "retention.bytes": "-1",
        "segment.bytes": str(max(config.topics.segment_bytes, largest)),
        # A file expires as a whole, with its last record. One that takes long to fill would keep its
        # first records for a week more; this way what expires is gone an eighth of the retention late at most.
        "segment.ms": str(max(milliseconds(retention_ns // 8), milliseconds(seconds(60)))),
    }


def _retained_rules(settings: Mapping[str, str], option: str) -> dict[str, Rule]:
    return _common_rules(settings) | {
        "retention.ms": Rule(settings["retention.ms"], Gravity.NOTABLE, option=option),
        "retention.bytes": Rule("-1", Gravity.NOTABLE),
    }


def _data(config: KafkaOptions, name: str) -> TopicPlan:
    settings = _retained(config, _largest(config), config.topics.retention)
    rules = _retained_rules(settings, "topics.retention")
    return TopicPlan(name, config.partitions, config.topics.replication_factor, settings, rules)


def _decisions(config: KafkaOptions, name: str) -> TopicPlan:
    largest = _largest(config)
    settings = _common(config, largest) | {
        "cleanup.policy": "compact",
        # The newest file of a partition is never compacted, so it must be small: a restart reads it whole.
        "segment.bytes": str(max(16 << 20, largest)),
        # And where few verdicts come, it is closed by time.
        "segment.ms": str(milliseconds(seconds(600))),
        # Compact when a tenth is superseded, not half: the topic stays within a few percent of what is needed, and
        # verdicts are so small beside the telemetry that copying them more often costs nothing to speak of.
        "min.cleanable.dirty.ratio": "0.1",
        # Marks of deletion stay this long, for a reader that is under way to meet them. Reading all of a partition
        # takes seconds; Kafka's default of a day would keep a day's marks.
        "delete.retention.ms": str(milliseconds(seconds(3600))),
        # A process that was suspended must meet the epoch of its successor when it wakes up (see journal.py).
        "min.compaction.lag.ms": str(milliseconds(seconds(3600))),
    }
    rules = _common_rules(settings)
    return TopicPlan(name, config.partitions, config.topics.replication_factor, settings, rules)


def _quarantine(config: KafkaOptions) -> TopicPlan:
    # A record comes here with what is known of it, so it must be allowed to be larger than where it came from.
    settings = _retained(config, _largest(config) + BATCH_OVERHEAD, config.topics.quarantine_retention)
    rules = _retained_rules(settings, "topics.quarantine_retention")
    return TopicPlan(config.quarantine_topic, 1, config.topics.replication_factor, settings, rules, pinned=False)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
