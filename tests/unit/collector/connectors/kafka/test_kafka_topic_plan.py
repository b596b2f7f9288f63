import pytest

from collector.batch import Signal
from collector.component.connector import Reader
from collector.connectors.kafka.options import BATCH_OVERHEAD, KafkaOptions
from collector.connectors.kafka.topic_plan import Gravity, Rule, plan

READERS = (Reader("traces/a", Signal.TRACES), Reader("traces/plain", Signal.TRACES, journal=False))
NAMES = ["otlp_spans", "butterfly_decisions-traces-a", "butterfly_quarantine"]


def options(**given):
    return KafkaOptions.model_validate(given)


def planned(config, name):
    (found,) = [each for each in plan(config, Signal, READERS) if each.name == name]
    return found


def test_a_connector_has_the_topics_of_its_signals_and_of_the_readers_that_decide():
    assert [each.name for each in plan(options(), {Signal.TRACES}, READERS)] == NAMES
    assert [each.name for each in plan(options(), Signal, READERS)] == [
        "otlp_spans",
        "otlp_metrics",
        "otlp_logs",
        *NAMES[1:],
    ]


def test_data_topics_expire_by_time_alone():
    config = options(topics={"retention": "16h", "segment_bytes": "32MiB", "min_insync_replicas": 1})
    settings = planned(config, "otlp_spans").settings
    assert settings["cleanup.policy"] == "delete"
    assert settings["retention.ms"] == str(16 * 3600 * 1000)
    assert settings["retention.bytes"] == "-1"
    assert settings["segment.ms"] == str(2 * 3600 * 1000)
    assert settings["segment.bytes"] == str(32 << 20)
    assert settings["message.timestamp.type"] == "LogAppendTime"


def test_a_record_of_the_largest_size_fits_into_every_topic():
    config = options(producer={"max_message_bytes": "20MiB"}, default_fetch_size="20MiB")
    for each in plan(config, Signal, READERS):
        assert int(each.settings["max.message.bytes"]) >= (20 << 20) + BATCH_OVERHEAD
        assert int(each.settings["segment.bytes"]) >= int(each.settings["max.message.bytes"])


def test_a_quarantined_record_may_be_larger_than_where_it_came_from():
    quarantine = planned(options(topics={"quarantine_retention": "1h"}), "butterfly_quarantine")
    assert int(quarantine.settings["max.message.bytes"]) > int(
        planned(options(), "otlp_logs").settings["max.message.bytes"]
    )
    assert quarantine.settings["retention.ms"] == "3600000"
    assert quarantine.partitions == 1


def test_the_decisions_topic_is_compacted_and_stays_small():
    decisions = planned(options(partitions=12), "butterfly_decisions-traces-a")
    assert decisions.partitions == 12
    assert decisions.settings["cleanup.policy"] == "compact"
    assert float(decisions.settings["min.cleanable.dirty.ratio"]) <= 0.1
    assert int(decisions.settings["segment.bytes"]) == 16 << 20
    assert "retention.ms" not in decisions.settings


@pytest.mark.parametrize(
    ("rule", "found", "holds"),
    [
        (Rule("compact", Gravity.FATAL), "compact", True),
        (Rule("compact", Gravity.FATAL), "compact,delete", False),
        (Rule("10", Gravity.FATAL, at_least=True), "10", True),
        (Rule("10", Gravity.FATAL, at_least=True), "11", True),
        (Rule("10", Gravity.FATAL, at_least=True), "9", False),
        (Rule("10", Gravity.FATAL, at_least=True), "-1", False),
        (Rule("10", Gravity.FATAL, at_least=True), "", False),
        (Rule("-1", Gravity.FATAL), "1", False),
    ],
)
def test_a_rule_holds_or_not(rule, found, holds):
    assert rule.holds(found) is holds
