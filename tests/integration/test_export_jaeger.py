"""The jaeger exporter against a real Jaeger: what was sent is what its query API v3 gives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import ack as acks
from collector.api import Ack, Batch, BuildContext, Meter, Outcome, RetryableExportError, to_json
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from exporters.jaeger import JaegerExporter, JaegerOptions
from tests.conftest import needed
from tests.servers.jaeger_server import Jaeger


def put_all_types(to, number):
    """An attribute of every type that OTLP has."""
    to.add(key="text").value.string_value = f'ünï "{number}"\n'
    to.add(key="no text").value.string_value = ""
    to.add(key="yes").value.bool_value = number % 2 == 0
    to.add(key="count").value.int_value = -(2**63) + number
    to.add(key="share").value.double_value = 0.1 + number
    to.add(key="digest").value.bytes_value = bytes((0, 255, number))
    array = to.add(key="layers").value.array_value.values
    array.add().string_value = "one"
    array.add().int_value = number
    pair = to.add(key="shape").value.kvlist_value.values.add(key="rows")
    pair.value.int_value = number


def request_with(trace_id, spans):
    request = ExportTraceServiceRequest()
    start = 1_790_000_000 * 10**9 + 123_456_789
    scopes = []
    for service in ("butterfly-test", "butterfly-peer"):
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service
        put_all_types(resource.resource.attributes, len(scopes))
        for name, version in (("layers", "1.2"), ("consensus", "")):
            scopes.append(resource.scope_spans.add())
            scopes[-1].scope.name, scopes[-1].scope.version = name, version
    for i in range(1, spans + 1):
        span = scopes[i % 4].spans.add(
            name=f"layer {i}",
            trace_id=trace_id,
            span_id=i.to_bytes(8, "big"),
            parent_span_id=b"" if i == 1 else (1).to_bytes(8, "big"),
            kind=i % 6,
            start_time_unix_nano=start + i * 1001,
            end_time_unix_nano=start + i * 1001 + 5_000_001,
            trace_state="ot=th:8,vendor=1" if i % 5 == 0 else "",
        )
        put_all_types(span.attributes, i % 100)
        for n in range(i % 3):
            event = span.events.add(name=f"verified {n}", time_unix_nano=start + i * 1001 + n)
            put_all_types(event.attributes, n)
        for n in range(i % 4):
            span.links.add(trace_id=bytes((n + 1,)) * 16, span_id=bytes((i % 255 + 1,)) * 8)
        span.status.code = i % 3
        if i % 3 == 2:
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
                    "state": span.get("traceState", ""),
                    "name": span["name"],
                    "kind": span.get("kind", 0),
                    "start": int(span["startTimeUnixNano"]),
                    "end": int(span["endTimeUnixNano"]),
                    "status": (span.get("status", {}).get("code", 0), span.get("status", {}).get("message", "")),
                    "attributes": attributes(span),
                    "events": [
                        (event["name"], int(event["timeUnixNano"]), attributes(event))
                        for event in span.get("events", [])
                    ],
                    "links": [(link["traceId"], link["spanId"]) for link in span.get("links", [])],
                    "resource": attributes(resource["resource"]),
                    "scope": (scope["scope"]["name"], scope["scope"].get("version", "")),
                }
    return found


def attributes(owner):
    """Key -> (type, value). Jaeger keeps arrays and lists of pairs as the JSON of their plain values."""
    result = {}
    for each in owner.get("attributes", []):
        ((kind, value),) = each["value"].items()
        if kind in {"arrayValue", "kvlistValue"}:
            kind, value = "stringValue", json.dumps(plain(each["value"]), separators=(",", ":"))
        assert each["key"] not in result
        result[each["key"]] = (kind, int(value) if kind == "intValue" else value)
    return result


def plain(value):
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        return [plain(each) for each in inner["values"]]
    if kind == "kvlistValue":
        return {each["key"]: plain(each["value"]) for each in inner["values"]}
    return int(inner) if kind == "intValue" else inner


@contextlib.asynccontextmanager
async def sending_to(tmp_path, **options):
    """Gives `deliver(*requests)`, which returns when they are delivered."""
    config = JaegerOptions.model_validate(
        {
            "sending_queue": {"batch": {"flush_timeout": "20ms"}},
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
            **options,
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


@pytest.fixture
async def send(jaeger, tmp_path):
    async with sending_to(tmp_path, endpoint=f"localhost:{jaeger.otlp}") as deliver:
        yield deliver


async def equal_in(server, trace_id, request, spans):
    """Attributes, events, links, status, resource and scope of every span. Jaeger keeps no more of a link than its ids,
    no attributes of scopes, no schema URLs, flags or dropped counts."""
    stored = flat(await asyncio.to_thread(server.trace, trace_id.hex(), spans))
    assert len(stored) == spans
    assert stored == flat(json.loads(to_json(request.SerializeToString()))["resourceSpans"])


async def test_spans_come_back_equal(jaeger, send):
    trace_id = bytes(range(1, 17))
    request = request_with(trace_id, 50)
    await send(request)
    await equal_in(jaeger, trace_id, request, 50)


async def test_spans_come_back_equal_over_mutual_tls(pki, tmp_path):
    trace_id = bytes(range(3, 19))
    request = request_with(trace_id, 60)
    ours = {"ca_file": str(pki / "ca.pem"), "cert_file": str(pki / "client.pem"), "key_file": str(pki / "client.key")}
    with needed(
        lambda: Jaeger(tmp_path / "tls", tls=(pki / "server.pem", pki / "server.key", pki / "ca.pem"))
    ) as server:
        async with sending_to(tmp_path, endpoint=f"localhost:{server.otlp}", tls=ours) as deliver:
            await deliver(request)
        await equal_in(server, trace_id, request, 60)


@pytest.mark.parametrize("tls", [{"ca_file": "other.pem"}, {"ca_file": "ca.pem"}, {"insecure": True}])
async def test_nothing_is_sent_to_a_jaeger_that_is_not_trusted_or_does_not_trust_us(pki, tmp_path, tls):
    given = {name: str(pki / value) if isinstance(value, str) else value for name, value in tls.items()}
    trace_id = bytes(range(4, 20))
    with needed(
        lambda: Jaeger(tmp_path / "tls", tls=(pki / "server.pem", pki / "server.key", pki / "ca.pem"))
    ) as server:
        options = JaegerOptions.model_validate({"endpoint": f"localhost:{server.otlp}", "tls": given, "timeout": "2s"})
        exporter = JaegerExporter(options, BuildContext("jaeger", logging.getLogger("test")))
        await exporter.start()
        with pytest.raises((RetryableExportError, TimeoutError)):
            await exporter.export(Batch(request_with(trace_id, 2).SerializeToString(), Ack.ignore()))
        await exporter.stop()
        assert await asyncio.to_thread(server.stored, trace_id.hex()) == []


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
