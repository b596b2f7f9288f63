"""Strangers' records are read, and ours are what strangers expect."""

import asyncio
import collections
import json
import logging
import time
from pathlib import Path

import grpc
import pytest
from aiokafka import AIOKafkaConsumer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ack import Outcome
from collector.testing.durable_connector import append, payloads
from collector.wire import partition_of
from tests.integration.kafka_lives import Follower, Topics, until
from tests.servers.process import free_ports

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
GOOD = payloads(0, 40)
COLLECTOR = Path("~/.cache/butterfly-servers/collector-kafka-0.159.0/otelcol-kafka").expanduser()


@pytest.fixture
async def topics(kafka):
    return await Topics(kafka.bootstrap).create()


def _spans(payloads):
    """Every span with its resource and scope, counted."""
    found = collections.Counter()
    for payload in payloads:
        for resource in ExportTraceServiceRequest.FromString(payload).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    if not span.status.ByteSize():
                        span.ClearField("status")  # the Collector writes an empty one
                    whole = (resource.resource, resource.schema_url, scope.scope, scope.schema_url, span)
                    found[tuple(each if isinstance(each, str) else each.SerializeToString() for each in whole)] += 1
    return found


def _rich(count):
    """Requests with several resources, scopes and traces each."""
    requests = []
    for number in range(count):
        request = ExportTraceServiceRequest()
        for one in range(3):
            resource = request.resource_spans.add(schema_url=f"https://example/{one}")
            resource.resource.attributes.add(key="service.name").value.string_value = f"service {one}"
            for two in range(2):
                scope = resource.scope_spans.add(schema_url=f"https://example/{two}")
                scope.scope.name = f"scope {two}"
                for three in range(4):
                    span = scope.spans.add(name=f"{number}.{one}.{two}.{three}", start_time_unix_nano=number)
                    span.trace_id = (1 + number * 7 + three).to_bytes(16, "little")
                    span.span_id = (1 + number * 24 + one * 8 + two * 4 + three).to_bytes(8, "big")
                    span.events.add(name="an event")
        requests.append(request.SerializeToString())
    return requests


@pytest.mark.parametrize("codec", CODECS)
async def test_our_records_are_plain_otlp_for_everybody(kafka, codec):
    options = {"partitions": 4, "producer": {"compression": codec}}
    topics = await Topics(kafka.bootstrap, **options).create()
    sent = _rich(20)
    before = time.time()
    follower = Follower()
    async with topics.life(follower) as connector:
        await until(lambda: len(follower.partitions) == 4)
        assert await append(connector, sent) == [(Outcome.DELIVERED, "")] * 20
        await until(lambda: _spans(follower.payloads) == _spans(sent))
    records = await topics.everything(partitions=4)
    assert _spans(record.value for record in records) == _spans(sent)
    assert len(records) == len({record.partition for record in records}) == 4, "one record a partition a flush"
    for record in records:
        assert record.key is None
        assert record.headers == (("butterfly-signal", b"traces"),)
        assert record.timestamp_type == 1, "LogAppendTime"
        assert before - 1 <= record.timestamp / 1000 <= time.time() + 1
        for *_, span in _spans([record.value]):
            trace_id = ExportTraceServiceRequest().resource_spans.add().scope_spans.add().spans.add().FromString(span)
            assert partition_of(trace_id.trace_id, 4) == record.partition


async def test_a_plain_consumer_of_another_group_reads_ours(topics):
    async with topics.life() as connector:
        await append(connector, GOOD)
    consumer = AIOKafkaConsumer(
        topics.data,
        bootstrap_servers=topics.bootstrap,
        group_id=f"{topics.group}-other",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()
    assert _spans([record.value]) == _spans(GOOD)


@pytest.mark.parametrize("codec", CODECS)
async def test_strangers_records_are_read(topics, codec):
    """As the Collector writes them: a trace id or nothing as the key, no headers, many to a batch, compressed."""
    how = {} if codec == "none" else {"compression_type": codec}
    await topics.put_batch(GOOD[:10], **how)
    await topics.put(*GOOD[10:12], key=b"%032x" % 17, **how)
    await topics.put(GOOD[12], headers=[("traceparent", b"00-0-0-00"), ("empty", b"")], **how)
    follower = Follower()
    async with topics.life(follower):
        await follower.has(13)
    assert follower.payloads == GOOD[:13]
    assert topics.counted("quarantined_records") == topics.counted("lost_records") == 0


async def test_transactions_are_read_through_their_markers(topics):
    """Uncommitted and aborted records too: what a sender was told to send again may come twice, nothing is missing."""
    topics.options["recent_bytes"] = 0
    async with topics.stranger(transactional_id=f"{topics.data}-writer") as producer:
        for first in (0, 10):
            async with producer.transaction():
                for value in GOOD[first : first + 5]:
                    await producer.send_and_wait(topics.data, value, partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topics.data, GOOD[20], partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topics.data, GOOD[21], partition=0)
    expected = GOOD[:5] + GOOD[10:15] + GOOD[20:22]
    follower = Follower(commits=False)
    async with topics.life(follower):
        await follower.has(12)
        assert follower.payloads == expected
        (partition,) = follower.partitions.values()
        position, seen = 0, []
        while position < partition.end:
            chunk = await asyncio.wait_for(partition.read(position, 300), 10)
            assert chunk.next > position
            seen += [record.payload for record in chunk.records]
            position = chunk.next
        assert seen == expected
        await partition.commit(partition.end)
    assert topics.counted("quarantined_records") == topics.counted("lost_records") == 0
    # The log ends with a marker now: the next life begins behind it, and is not held up by it.
    follower = Follower()
    async with topics.life(follower):
        await follower.assigned_once.wait()
        await topics.put(GOOD[30])
        await follower.has(1)
    assert follower.payloads == [GOOD[30]]


@pytest.mark.soak  # building it takes minutes: see tests/servers/collector/manifest.yaml
async def test_the_collectors_kafka_exporter_writes_for_us(topics, tmp_path):
    """The real one, built with contrib's kafka exporter."""
    assert COLLECTOR.exists(), "not built: see tests/servers/collector/manifest.yaml"
    (port,) = free_ports(1)
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {
            "kafka": {
                "brokers": topics.bootstrap,
                "traces": {"topic": topics.data, "encoding": "otlp_proto"},
                "producer": {"compression": "zstd"},
            }
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["kafka"]}},
        },
    }
    path = tmp_path / "collector.yaml"
    path.write_text(json.dumps(config))
    sent = _rich(10)
    log = tmp_path / "collector.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(str(COLLECTOR), "--config", str(path), stdout=file, stderr=file)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            for request in sent:
                await export(request, timeout=10)
        follower = Follower()
        async with topics.life(follower):
            await until(
                lambda: _spans(follower.payloads) == _spans(sent),
                what=lambda: log.read_text()[-500:],
            )
        assert topics.counted("quarantined_records") == 0
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def test_nothing_of_a_payload_is_ever_logged(kafka, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "the-user's-own-words"
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name=secret, trace_id=b"t" * 16, span_id=b"s" * 8)
    span.attributes.add(key="input").value.string_value = secret
    topics = await Topics(kafka.bootstrap, recent_bytes=0).create()
    follower = Follower(commits=False)
    async with topics.life(follower) as connector:
        await append(connector, [request.SerializeToString()])
        await topics.put(secret.encode(), b"\xff" + secret.encode(), headers=[("butterfly-tenant", secret.encode())])
        await until(lambda: topics.counted("quarantined_records") == 2)
        (partition,) = follower.partitions.values()
        await partition.journal(secret.encode(), 1, 1, 0)
        await partition.read(0, 100)
        await partition.commit(1)
    assert caplog.records, "something was logged"
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]
    assert secret not in caplog.text
