"""The loki exporter against a real VictoriaLogs: every line, label and piece of metadata is there, and no other."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from random import Random

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.api import Ack, Batch, BuildContext, Meter, Outcome, RetryableExportError, Signal
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from exporters.loki import LokiExporter, LokiOptions
from tests.property.loki_reference import Reference
from tests.property.loki_requests import attributes, body
from tests.unit.exporters.loki.fake_loki import FakeLoki, parse_labels

LEVELS = (1, 5, 9, 13, 17, 21)


def logs(rnd, records, *, run, services=3):
    """Records of every form and with values of every type, each with the name of this run and a number."""
    request = ExportLogsServiceRequest()
    now = time.time_ns()
    for service in range(services):
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = f"{run}-{service}"
        resource.resource.attributes.add(key="host.name").value.string_value = 'ho"st\\ 1\n'
        attributes(rnd, resource.resource.attributes)
        scope = resource.scope_logs.add()
        scope.scope.name = "consensus"
        for n in range(service, records, services):
            record = scope.log_records.add(
                time_unix_nano=now + n * 1001,
                severity_number=rnd.choice(LEVELS),
                trace_id=rnd.randbytes(16),
                span_id=rnd.randbytes(8),
            )
            body(rnd, record.body)
            attributes(rnd, record.attributes)
            record.attributes.add(key="run").value.string_value = run
            record.attributes.add(key="number").value.int_value = n
    return request


def stored(entry):
    """An entry of VictoriaLogs as (nanoseconds, line, fields); it keeps no empty field."""
    when, _, nanos = entry.pop("_time").removesuffix("Z").partition(".")
    seconds = int(time.mktime(time.strptime(when, "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    line = entry.pop("_msg", "")
    fields = {name: value for name, value in entry.items() if name not in {"_stream", "_stream_id"}}
    return seconds * 10**9 + int(f"{nanos:0<9}"), line, tuple(sorted(fields.items()))


def expected(entry):
    labels, when, line, metadata, _ = entry
    return when, line, tuple(sorted({**parse_labels(labels), **dict(metadata)}.items()))


@pytest.fixture
async def send(victoria_logs, tmp_path):
    """Delivers requests with an exporter of the given options; returns its plan."""
    queues = []

    async def deliver(options, *payloads):
        given = {"endpoint": victoria_logs.url, "sending_queue": {"batch": {"flush_timeout": "20ms"}}, **options}
        config = LokiOptions.model_validate(given)
        exporter = LokiExporter(config, BuildContext("loki", logging.getLogger("test")))
        dead = DeadLetter(tmp_path / "dead", 1 << 20)
        queue = ExportQueue(exporter, dead, Meter(), durable=True, log=logging.getLogger("test"))
        queues.append(queue)
        ends = []
        await queue.start()
        for payload in payloads:
            queue.offer(Batch(payload, Ack(lambda *end: ends.append(end)), signal=Signal.LOGS))
        async with asyncio.timeout(30):
            while len(ends) < len(payloads):
                await asyncio.sleep(0.01)
        assert set(ends) == {(Outcome.DELIVERED, "")}
        return config.plan

    yield deliver
    for queue in queues:
        await queue.stop(1)
    assert not list(read(tmp_path / "dead"))


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("json", {}),
        ("body", {"line": "body", "labels": ["service.name", "level", "tenant"], "static_labels": {"zone": 'a"b\\c'}}),
        ("some", {"line": "body", "structured_metadata": ["run", "number", "a.b"], "limits": {"max_push_size": 4000}}),
    ],
)
async def test_every_entry_comes_back_equal(victoria_logs, send, run, options):
    rnd = Random(run)
    requests = [logs(rnd, 200, run=f"{run}{n}") for n in range(3)]
    plan = await send(options, *[each.SerializeToString() for each in requests])
    for n, request in enumerate(requests):
        entries, refused = Reference(plan).encode(request, time.time_ns())
        assert not any(refused)
        found = await asyncio.to_thread(victoria_logs.entries, f'{{service_name=~"{run}{n}-.*"}}')
        assert sorted(map(stored, found)) == sorted(map(expected, entries))
        labels = await asyncio.to_thread(victoria_logs.streams, f'{{service_name=~"{run}{n}-.*"}}')
        assert len(labels) == len({entry[0] for entry in entries})


async def test_a_trace_leads_to_its_logs(victoria_logs, send):
    request = logs(Random(1), 30, run="trace")
    await send({}, request.SerializeToString())
    wanted = request.resource_logs[0].scope_logs[0].log_records[4]
    query = f'{{level=~".+"}} trace_id:="{wanted.trace_id.hex()}"'
    (found,) = await asyncio.to_thread(victoria_logs.entries, query)
    assert found["span_id"] == wanted.span_id.hex()


async def test_otlp_is_taken_too(victoria_logs, send, monkeypatch):
    # VictoriaLogs has another path for it than Loki.
    monkeypatch.setattr(LokiOptions, "url", property(lambda _: victoria_logs.otlp_url))
    request = logs(Random(2), 50, run="otlp")
    for each in request.resource_logs:
        for record in each.scope_logs[0].log_records:
            record.body.string_value = f"record {record.span_id.hex()}"
            del record.attributes[:-2]  # the odd ones of other tests, which VictoriaLogs names in a way of its own
    await send({"format": "otlp"}, request.SerializeToString())
    found = await asyncio.to_thread(victoria_logs.entries, 'run:="otlp"')
    assert sorted(int(each["number"]) for each in found) == list(range(50))
    assert all(each["_msg"] == f"record {each['span_id']}" for each in found)


async def test_a_server_that_is_away_gets_everything_when_it_is_back(victoria_logs, send):
    request = logs(Random(3), 100, run="away")
    await asyncio.to_thread(victoria_logs.stop)
    retry = {"initial_interval": "50ms", "max_interval": "200ms"}
    sending = asyncio.create_task(send({"retry_on_failure": retry}, request.SerializeToString()))
    await asyncio.sleep(0.3)
    assert not sending.done()
    await asyncio.to_thread(victoria_logs.start)
    await sending
    found = await asyncio.to_thread(victoria_logs.entries, '{service_name=~"away-.*"}')
    numbers = sorted(
        json.loads(each["_msg"])["fields"]["number"] if "number" not in each else int(each["number"]) for each in found
    )
    assert numbers == list(range(100))


async def test_tls_with_an_authority_of_ones_own_and_never_without(pki, tmp_path):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pki / "server.pem", pki / "server.key")
    loki = FakeLoki()
    await loki.start(server)
    payload = logs(Random(4), 10, run="tls").SerializeToString()
    batch = Batch(payload, Ack.ignore(), signal=Signal.LOGS)
    for authority, trusted in (("other", False), ("ca", True)):
        config = LokiOptions.model_validate({"endpoint": loki.url, "tls": {"ca_file": str(pki / f"{authority}.pem")}})
        exporter = LokiExporter(config, BuildContext("loki", logging.getLogger("test")))
        await exporter.start()
        staged = exporter.stage(batch)
        if trusted:
            assert await exporter.send(staged) == []
        else:
            with pytest.raises(RetryableExportError, match="certificate is not trusted"):
                await exporter.send(staged)
        await exporter.stop()
    assert len(loki.kept) == 10
    await loki.stop()
