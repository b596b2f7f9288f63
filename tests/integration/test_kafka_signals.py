"""Metrics and logs through the connector: partitioned by resource or trace, read back as what they are."""

import secrets

import mmh3
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import Context, Reader, Signal
from collector.testing.durable_connector import append
from tests.integration.kafka_lives import Follower, Topics, ready, until

PARTITIONS = 4


class SignalTopics(Topics):
    """As `Topics`, for another signal and several partitions."""

    def __init__(self, bootstrap, signal):
        mark = secrets.token_hex(4)
        super().__init__(bootstrap, partitions=PARTITIONS, **{signal.value: {"topic": f"faults.{mark}.data"}})
        self.reader = Reader(f"{signal.value}/out", signal)

    @property
    def data(self):
        return self.config.topic(self.reader.signal)


def metrics_of(node):
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="node.id").value.int_value = node
    resource.resource.attributes.add(key="service.name").value.string_value = "butterfly-node"
    for name in ("layer.duration", "layer.memory"):
        metric = resource.scope_metrics.add().metrics.add(name=name)
        metric.gauge.data_points.add(as_int=node)
    return request


def logs_of(number):
    """Two log records: one of a trace, one of none."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="node.id").value.int_value = number % 3
    scope = resource.scope_logs.add()
    scope.log_records.add(trace_id=number.to_bytes(16, "big")).body.string_value = f"of trace {number}"
    scope.log_records.add().body.string_value = f"of no trace {number}"
    return request


async def carried(kafka, signal, requests, count):
    """Append requests through one connector and read them back; the records, and their partitions by the topic."""
    topics = await SignalTopics(kafka.bootstrap, signal).create()
    follower = Follower(reader=topics.reader)
    async with topics.life(follower) as connector:
        await ready(connector)
        await until(lambda: len(follower.partitions) == PARTITIONS)
        answers = await append(
            connector, [each.SerializeToString() for each in requests], context=Context("tenant"), signal=signal
        )
        assert {outcome.name for outcome, _ in answers} == {"DELIVERED"}
        await until(lambda: sum(record.count for record in follower.records) == count)
    assert {(record.signal, record.context.tenant) for record in follower.records} == {(signal, "tenant")}
    return await topics.everything(partitions=PARTITIONS), follower.records


@pytest.mark.timeout(60)
async def test_a_metric_series_stays_in_one_partition(kafka):
    requests = [metrics_of(node) for node in range(20) for _ in range(2)]
    stored, read = await carried(kafka, Signal.METRICS, requests, 80)
    partitions, seen = {}, []
    for record in stored:
        for resource in ExportMetricsServiceRequest.FromString(record.value).resource_metrics:
            node = resource.resource.attributes[0].value.int_value
            partitions.setdefault(node, set()).add(record.partition)
            seen += [(node, metric.name) for scope in resource.scope_metrics for metric in scope.metrics]
    assert all(len(found) == 1 for found in partitions.values())
    assert len(set.union(*partitions.values())) == PARTITIONS
    assert sorted(seen) == sorted((node, name) for node in range(20) for name in ("layer.duration", "layer.memory") * 2)
    assert sorted(record.payload for record in read) == sorted(record.value for record in stored)


@pytest.mark.timeout(60)
async def test_logs_go_with_their_trace_or_their_resource(kafka):
    stored, _ = await carried(kafka, Signal.LOGS, [logs_of(number) for number in range(1, 31)], 60)
    bodies, homes = [], {}
    for record in stored:
        for resource in ExportLogsServiceRequest.FromString(record.value).resource_logs:
            for log in resource.scope_logs[0].log_records:
                bodies.append(log.body.string_value)
                if log.trace_id:
                    assert mmh3.hash(log.trace_id, signed=False) % PARTITIONS == record.partition
                else:
                    homes.setdefault(resource.resource.attributes[0].value.int_value, set()).add(record.partition)
    assert sorted(bodies) == sorted(f"of {kind} {number}" for kind in ("trace", "no trace") for number in range(1, 31))
    assert all(len(found) == 1 for found in homes.values())
