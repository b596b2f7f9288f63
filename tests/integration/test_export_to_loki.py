"""The loki exporter against a real Loki (2.2.1): lines, labels and times equal, refusals by their reason alone."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from random import Random

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from test_export_loki import logs

from collector.api import Ack, Batch, BuildContext, Meter, Outcome, Signal
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from exporters.loki import LokiExporter, LokiOptions
from tests.conftest import needed
from tests.property.loki_reference import Reference
from tests.servers.fault_proxy import Answer, FaultProxy
from tests.servers.loki_server import Loki
from tests.unit.exporters.loki.fake_loki import parse_labels

ODD = ('a"b\\c', "\x7f\x00\u00a0.", "line\nbreak\t.", "é\U0001f98b", "', {}=~", "x" * 2000, "\\")
A_STREAM_EACH = {"line": "body", "labels": ["service.name", "number"]}
"""So that Loki 2.2.1 knows each entry when it comes again, as newer ones do in any stream."""


def expected(plan, *requests):
    """What Loki is to have of the requests: it sorts nothing out, so all of it."""
    found = []
    for request in requests:
        entries, refused = Reference(plan).encode(request, time.time_ns())
        assert not any(refused)
        found += [(tuple(sorted(parse_labels(labels).items())), when, line) for labels, when, line, *_ in entries]
    return Counter(found)


def legible(rnd, request):
    """The request without values of labels that end with what Loki 2.2.1 can't read: see test_loki_server.py."""
    for resource in request.resource_logs:
        records = [record.attributes for scope in resource.scope_logs for record in scope.log_records]
        for attribute in [each for attributes in (resource.resource.attributes, *records) for each in attributes]:
            if attribute.key == "service.namespace":
                attribute.value.string_value = rnd.choice(ODD)
    return request


def numbered(count, *, service, first=0, start=None, step=1, body="line {}", zone=None):
    """Records with text and a number, in order of time."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    if zone is not None:
        resource.resource.attributes.add(key="zone").value.string_value = zone
    scope = resource.scope_logs.add()
    start = time.time_ns() if start is None else start
    for n in range(first, first + count):
        record = scope.log_records.add(time_unix_nano=start + n * step, severity_number=9)
        record.body.string_value = body.format(n)
        record.attributes.add(key="number").value.int_value = n
    return request


def joined(*requests):
    """One request with all their records."""
    return b"".join(request.SerializeToString() for request in requests)


class Sender:
    """An exporter behind its queue; `ends` are the outcomes, `dead` tells what was refused."""

    def __init__(self, folder, url, options):
        config = LokiOptions.model_validate(
            {
                "endpoint": url,
                "retry_on_failure": {"initial_interval": "20ms", "max_interval": "100ms"},
                "sending_queue": {"batch": {"flush_timeout": "10ms"}},
                **options,
            }
        )
        self.plan = config.plan
        self.folder = folder
        exporter = LokiExporter(config, BuildContext("loki", logging.getLogger("test")))
        dead = DeadLetter(folder, 1 << 24)
        self.queue = ExportQueue(exporter, dead, Meter(), durable=True, log=logging.getLogger("test"))
        self.offered = 0
        self.ends = []

    def offer(self, payload):
        payload = payload if isinstance(payload, bytes) else payload.SerializeToString()
        self.offered += 1
        self.queue.offer(Batch(payload, Ack(lambda *end: self.ends.append(end)), signal=Signal.LOGS))

    async def settled(self, within=20):
        async with asyncio.timeout(within):
            while len(self.ends) < self.offered:
                await asyncio.sleep(0.005)

    async def deliver(self, *payloads):
        for payload in payloads:
            self.offer(payload)
        await self.settled()

    def dead(self):
        """{reason: bodies of the records}."""
        found = {}
        for each in read(self.folder):
            for resource in ExportLogsServiceRequest.FromString(each.payload).resource_logs:
                for scope in resource.scope_logs:
                    bodies = [record.body.string_value for record in scope.log_records]
                    found.setdefault(each.reason.partition(":")[0], []).extend(bodies)
        return found


@pytest.fixture
async def sender(tmp_path):
    made = []

    async def build(server, **options):
        one = Sender(tmp_path / f"dead-{len(made)}", server if isinstance(server, str) else server.url, options)
        await one.queue.start()
        made.append(one)
        return one

    yield build
    for one in made:
        await one.queue.stop(1)


@pytest.fixture
def served(tmp_path):
    """Starts a Loki of the test's own."""
    started = []

    def start(**options):
        server = needed(lambda: Loki(tmp_path / f"loki-{len(started)}", **options))
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


async def stored(loki, query, **span):
    return Counter(await asyncio.to_thread(lambda: loki.entries(query, **span)))


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("json", {}),
        ("body", {"line": "body", "labels": ["service.name", "level"], "static_labels": {"zone": 'a"b\\c'}}),
        ("some", {"line": "body", "structured_metadata": ["run", "a.b"], "limits": {"max_push_size": 4000}}),
    ],
)
async def test_every_entry_comes_back_equal(loki, sender, run, options):
    rnd = Random(run)
    one = await sender(loki, **options)
    requests = [legible(rnd, logs(rnd, 200, run=f"{run}{n}")) for n in range(3)]
    await one.deliver(*requests)
    assert set(one.ends) == {(Outcome.DELIVERED, "")}
    assert await stored(loki, f'{{service_name=~"{run}[0-2]-.*"}}') == expected(one.plan, *requests)


async def test_odd_labels_are_quoted_as_loki_reads_them(loki, sender):
    one = await sender(loki, line="body", labels=["service.name", "zone"])
    requests = [numbered(3, service=f"odd {odd}", zone=odd) for odd in ODD]
    await one.deliver(joined(*requests))
    assert one.dead() == {}
    assert await stored(loki, '{service_name=~"(?s)odd.*"}') == expected(one.plan, *requests)
    found = await asyncio.to_thread(loki.label_values, "zone")
    assert set(ODD) <= set(found)


async def test_a_trace_leads_to_its_lines(loki, sender):
    one = await sender(loki)
    request = numbered(30, service="trace")
    records = request.resource_logs[0].scope_logs[0].log_records
    for n, record in enumerate(records):
        record.trace_id = bytes([n % 10]) * 16
        record.body.string_value = f'said "{n}" é\n'
    await one.deliver(request)
    found = await asyncio.to_thread(loki.entries, f'{{service_name="trace"}} | json | trace_id="{"03" * 16}"')
    assert [when for _, when, _ in found] == [records[n].time_unix_nano for n in (3, 13, 23)]
    assert [json.loads(line)["message"] for *_, line in found] == [f'said "{n}" é\n' for n in (3, 13, 23)]


async def test_streams_stay_in_order_over_many_pushes_and_lives_of_loki(served, sender):
    loki = served()
    rnd = Random(5)
    one = await sender(loki, line="body", limits={"max_push_size": 3000})
    sent = []
    for end in (None, loki.stop, None, loki.kill, None):
        for _ in range(3):
            requests = [numbered(60, service=f"order {n}", body=f"{rnd.random()} {{}}") for n in range(3)]
            for request in requests:
                records = list(request.resource_logs[0].scope_logs[0].log_records)
                rnd.shuffle(records)  # within a request they may come in any order
                del request.resource_logs[0].scope_logs[0].log_records[:]
                request.resource_logs[0].scope_logs[0].log_records.extend(records)
            one.offer(joined(*requests))
            sent += requests
        if end is not None:
            await one.settled()
            await asyncio.to_thread(end)
            asyncio.get_running_loop().call_later(0.1, loki.start)
    await one.settled()
    assert one.dead() == {}
    assert set(one.ends) == {(Outcome.DELIVERED, "")}
    assert await stored(loki, '{service_name=~"order.*"}') == expected(one.plan, *sent)


async def test_a_lost_answer_costs_nothing_and_makes_no_copy(loki, sender):
    lost = []

    def answer(_path, body):
        status, _ = loki.push(body)
        lost.append(status)
        return Answer(504) if len(lost) < 4 else None

    with FaultProxy(loki.port) as proxy:
        proxy.fault = answer
        one = await sender(f"http://127.0.0.1:{proxy.port}", **A_STREAM_EACH)
        request = numbered(50, service="lost")
        await one.deliver(request)
    assert lost == [204] * 4
    assert one.dead() == {}
    assert await stored(loki, '{service_name="lost"}') == expected(one.plan, request)


async def test_before_2_4_what_is_sent_again_is_out_of_order_but_there_once(loki, sender):
    request = numbered(50, service="again")
    for dead in ({}, {"too_far_behind": [f"line {n}" for n in range(49)]}):
        one = await sender(loki, line="body")
        await one.deliver(request)
        assert one.dead() == dead
    assert await stored(loki, '{service_name="again"}') == expected(one.plan, request)


async def test_loki_killed_and_frozen_under_way_loses_nothing(served, sender):
    loki = served()
    one = await sender(loki, **A_STREAM_EACH, limits={"max_push_size": 4000}, timeout="200ms")
    requests = [numbered(40, service="killed", first=40 * n) for n in range(40)]

    async def send():
        for request in requests:
            one.offer(request)
            await asyncio.sleep(0.03)

    sending = asyncio.create_task(send())
    for end, back in (
        (loki.kill, loki.start),
        (loki.pause, loki.resume),
        (loki.stop, loki.start),
        (loki.kill, loki.start),
    ):
        await asyncio.sleep(0.15)
        await asyncio.to_thread(end)
        await asyncio.sleep(0.25)
        await asyncio.to_thread(back)
    await sending
    await one.settled()
    assert one.dead() == {}
    assert await stored(loki, '{service_name="killed"}') == expected(one.plan, *requests)


async def test_each_refused_entry_goes_by_its_reason_and_nothing_else(served, sender):
    limits = {
        "reject_old_samples": True,
        "reject_old_samples_max_age": "1h",
        "creation_grace_period": "1m",
        "max_line_size": "1KB",
        "max_label_value_length": 100,
    }
    loki = served(limits=limits)
    one = await sender(loki, **A_STREAM_EACH)
    now, hour = time.time_ns(), 3600 * 10**9
    good = numbered(300, service="good", start=now)
    bad = {
        "too_old": numbered(1, service="good", first=1000, start=now - 2 * hour, body="old"),
        "too_far_ahead": numbered(1, service="good", first=1001, start=now + hour // 12, body="new"),
        "line_too_long": numbered(1, service="good", first=1002, start=now, body="x" * 1100),
        "invalid_labels": numbered(1, service="s" * 101, first=1003, start=now, body="label"),
    }
    for request in bad.values():
        await one.deliver(joined(good, request))
    assert one.dead() == {
        reason: [request.resource_logs[0].scope_logs[0].log_records[0].body.string_value]
        for reason, request in bad.items()
    }
    assert await stored(loki, '{service_name=~".+"}') == expected(one.plan, good)


async def test_more_labels_than_loki_takes_are_refused_as_such(served, sender):
    loki = served(limits={"max_label_names_per_series": 3})
    one = await sender(loki, line="body", static_labels={"zone": "a", "cluster": "b"})
    await one.deliver(numbered(2, service="labels"))
    assert one.dead() == {"invalid_labels": ["line 0", "line 1"]}


async def test_an_entry_behind_its_stream_is_refused_alone(loki, sender):
    one = await sender(loki, line="body")
    now = time.time_ns()
    first = numbered(3, service="behind", start=now)
    await one.deliver(first)
    late, rest = numbered(1, service="behind", start=now - 10**9, body="late"), numbered(50, service="ahead", start=now)
    await one.deliver(joined(late, rest))
    dead = one.dead()
    assert list(dead) == ["too_far_behind"]
    assert dead["too_far_behind"][0] == "late"
    assert await stored(loki, '{service_name=~"behind|ahead"}') == expected(one.plan, first, rest)


async def test_what_is_over_a_rate_is_sent_until_it_is_taken(served, sender):
    loki = served(limits={"ingestion_rate_mb": 1, "ingestion_burst_size_mb": 1})
    with FaultProxy(loki.port) as proxy:
        one = await sender(f"http://127.0.0.1:{proxy.port}", line="body", limits={"max_push_size": 200_000})
        request = numbered(250, service="rate", body="x" * 9_000 + " {}")
        await one.deliver(request)
        assert set(proxy.statuses) == {204, 429}
    assert one.dead() == {}
    assert await stored(loki, '{service_name="rate"}') == expected(one.plan, request)


async def test_streams_over_the_limit_wait_until_there_is_room(served, sender):
    idle = {"chunk_idle_period": "300ms", "flush_check_period": "100ms", "chunk_retain_period": "0s"}
    loki = served(limits={"max_streams_per_user": 3}, ingester=idle)
    with FaultProxy(loki.port) as proxy:
        one = await sender(f"http://127.0.0.1:{proxy.port}", line="body", limits={"max_push_size": 1})
        requests = [numbered(1, service=f"room {n}") for n in range(5)]
        await one.deliver(*requests)
        assert set(proxy.statuses) == {204, 429}
    assert one.dead() == {}
    assert await stored(loki, '{service_name=~"room.*"}') == expected(one.plan, *requests)


async def test_a_push_that_lokis_parts_cannot_hand_on_is_divided_at_once(served, sender):
    loki = served(server={"grpc_server_max_recv_msg_size": 100_000})
    one = await sender(loki, **A_STREAM_EACH, limits={"max_line_size": "1MiB"})
    request = numbered(400, service="parts", body="x" * 1000 + " {}")
    long = numbered(1, service="parts", first=1000, body="y" * 200_000)
    await one.deliver(joined(request, long))
    assert one.dead() == {"too_large": ["y" * 200_000]}
    assert await stored(loki, '{service_name="parts"}') == expected(one.plan, request)


async def test_tenants_are_apart_and_without_one_nothing_is_given_up(served, sender, caplog):
    loki = served(tenants=True)
    requests = {tenant: numbered(5, service="tenant", body=f"of {tenant} {{}}") for tenant in ("a", "b", "")}
    for tenant in ("a", "b"):
        one = await sender(loki, line="body", tenant_id=tenant)
        await one.deliver(requests[tenant])
        assert await stored(loki, '{service_name="tenant"}', tenant=tenant) == expected(one.plan, requests[tenant])
    nobody = await sender(loki, line="body")
    nobody.offer(requests[""])
    async with asyncio.timeout(20):
        while "answers HTTP 401: check endpoint, headers, tenant and credentials" not in caplog.text:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert nobody.ends == []
    assert nobody.dead() == {}
