"""The jaeger exporter against a real Jaeger: what was sent is what its query API v3 gives."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import ack as acks
from collector.api import Ack, Batch, BuildContext, Meter, Outcome, to_json
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from exporters.jaeger import JaegerExporter, JaegerOptions


def request_with(trace_id, spans):
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "butterfly-test"
    scope = resource.scope_spans.add()
    scope.scope.name = "layers"
    start = 1_790_000_000 * 10**9
    for i in range(1, spans + 1):
        span = scope.spans.add(
            name=f"layer {i}",
            trace_id=trace_id,
            span_id=i.to_bytes(8, "big"),
            parent_span_id=b"" if i == 1 else (1).to_bytes(8, "big"),
            kind=2,
            start_time_unix_nano=start + i * 1000,
            end_time_unix_nano=start + i * 1000 + 5_000_000,
        )
        span.attributes.add(key="node.id").value.string_value = f"node-{i % 7}"
        span.attributes.add(key="tokens").value.int_value = i * 1000
        span.attributes.add(key="share").value.double_value = i / 8
        span.attributes.add(key="cached").value.bool_value = i % 2 == 0
        event = span.events.add(name="verified", time_unix_nano=start + i * 1000 + 2_000)
        event.attributes.add(key="round").value.int_value = i
        if i % 3 == 0:
            span.status.code = 2
            span.status.message = "layer failed"
    return request


def flat(resources):
    """Span id -> everything that both sides say of it, from OTLP/JSON."""
    found = {}
    for resource in resources:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                assert span["spanId"] not in found, "the same span twice"
                found[span["spanId"]] = {
                    "trace": span["traceId"],
                    "parent": span.get("parentSpanId", ""),
                    "name": span["name"],
                    "kind": span["kind"],
                    "start": int(span["startTimeUnixNano"]),
                    "end": int(span["endTimeUnixNano"]),
                    "status": (span.get("status", {}).get("code", 0), span.get("status", {}).get("message", "")),
                    "attributes": attributes(span),
                    "events": [
                        (event["name"], int(event["timeUnixNano"]), attributes(event)) for event in span["events"]
                    ],
                    "resource": attributes(resource["resource"]),
                    "scope": scope["scope"]["name"],
                }
    return found


def attributes(owner):
    result = {}
    for each in owner.get("attributes", []):
        ((kind, value),) = each["value"].items()
        result[each["key"]] = (kind, int(value) if kind == "intValue" else value)
    return result


@pytest.fixture
async def send(jaeger, tmp_path):
    config = JaegerOptions.model_validate(
        {
            "endpoint": f"localhost:{jaeger.otlp}",
            "sending_queue": {"batch": {"flush_timeout": "20ms"}},
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
        }
    )
    exporter = JaegerExporter(config, BuildContext("jaeger", logging.getLogger("test")))
    queue = ExportQueue(
        exporter, DeadLetter(tmp_path / "dead", 1 << 20), Meter(), durable=True, log=logging.getLogger("test")
    )
    ends = []
    before = acks.leaked()

    async def deliver(*requests):
        for request in requests:
            assert queue.offer(Batch(request.SerializeToString(), Ack(lambda *end: ends.append(end))))
        async with asyncio.timeout(15):
            while len(ends) < len(requests):
                await asyncio.sleep(0.01)
        assert set(ends) == {(Outcome.DELIVERED, "")}
        ends.clear()

    await queue.start()
    yield deliver
    await queue.stop(1)
    assert acks.leaked() == before
    assert not list(read(tmp_path / "dead"))


async def test_spans_come_back_equal(jaeger, send):
    trace_id = bytes(range(1, 17))
    request = request_with(trace_id, 50)
    await send(request)
    stored = flat(await asyncio.to_thread(jaeger.trace, trace_id.hex(), 50))
    assert stored == flat(json.loads(to_json(request.SerializeToString()))["resourceSpans"])


async def test_a_jaeger_that_restarts_gets_what_was_sent_meanwhile(jaeger, send):
    trace_id = bytes(range(17, 33))
    await send(request_with(bytes(range(2, 18)), 3))
    await asyncio.to_thread(jaeger.stop)
    sending = asyncio.create_task(send(request_with(trace_id, 20)))
    await asyncio.sleep(1)
    assert not sending.done()
    await asyncio.to_thread(jaeger.start)
    await sending
    assert len(flat(await asyncio.to_thread(jaeger.trace, trace_id.hex(), 20))) == 20
