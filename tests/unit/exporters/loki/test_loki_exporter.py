"""The `loki` exporter behind its queue, against a strict fake: what arrives, what doesn't, and what is asked when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from random import Random

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector import ack as acks
from collector.api import Ack, Batch, BuildContext, Meter, RejectedExportError, RetryableExportError, Signal
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from collector.telemetry.item_outcomes import ItemOutcomes
from collector.telemetry.ledger import Account
from exporters.loki import LokiExporter, LokiOptions
from tests.unit.exporters.loki.fake_loki import FakeLoki, parse_labels

NOW = time.time_ns() // 10**9 * 10**9


class Clocks:
    """Both clocks of the exporter, moved by hand."""

    def __init__(self):
        self.seconds = 0.0

    def clock(self):
        return self.seconds

    def wall(self):
        return NOW + round(self.seconds * 1e9)


def request(bodies, *, service="api", start=NOW, step=1, **attributes):
    made = ExportLogsServiceRequest()
    resource = made.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_logs.add()
    scope.scope.name = "consensus"
    for n, body in enumerate(bodies):
        record = scope.log_records.add(
            time_unix_nano=start + n * step, severity_number=9, trace_id=bytes(14) + (n + 1).to_bytes(2, "big")
        )
        record.body.string_value = body
        for key, value in attributes.items():
            record.attributes.add(key=key).value.string_value = value
    return made.SerializeToString()


def batch(payload):
    return Batch(payload, Ack.ignore(), signal=Signal.LOGS)


class Rig:
    """An exporter with its queue, its books and its dead letter."""

    def __init__(self, folder, loki, clocks, options, *, attempts=()):
        self.folder = folder
        self.meter = Meter()
        config = LokiOptions.model_validate(
            {
                "endpoint": loki.url,
                "line": "body",
                "retry_on_failure": {"initial_interval": "5ms", "max_interval": "20ms"},
                "sending_queue": {"batch": {"flush_timeout": "5ms"}},
                **options,
            }
        )
        context = BuildContext("loki", logging.getLogger("test"), self.meter)
        self.exporter = LokiExporter(config, context, clock=clocks.clock, wall=clocks.wall)
        dead = DeadLetter(folder, 1 << 24)
        self.queue = ExportQueue(self.exporter, dead, Meter(), durable=True, log=logging.getLogger("test.queue"))
        self.account = Account("logs")
        self.ended = 0

    def offer(self, payload):
        def done(outcome, reason):
            self.account.settle_each(outcomes, outcome, reason)
            self.ended += 1

        ack = Ack(done)
        made = Batch(payload, ack, signal=Signal.LOGS, account=self.account)
        outcomes = ItemOutcomes(len(made))
        self.account.accept(len(made))
        self.queue.offer(made.with_ack(ack, outcomes))

    async def until(self, ended):
        async with asyncio.timeout(20):
            while self.ended < ended:
                await asyncio.sleep(0.002)

    async def deliver(self, *payloads):
        ended = self.ended + len(payloads)
        for payload in payloads:
            self.offer(payload)
        await self.until(ended)
        assert self.account.imbalance() == 0

    def dead(self):
        """[(reason, [body])] of the dead letter."""
        found = []
        for each in read(self.folder):
            logs = ExportLogsServiceRequest.FromString(each.payload)
            bodies = [
                record.body.string_value
                for resource in logs.resource_logs
                for scope in resource.scope_logs
                for record in scope.log_records
            ]
            assert len(bodies) == each.items
            found.append((each.reason.partition(":")[0], bodies))
        return found

    def adjusted(self, kind):
        return self.meter.registry.get_sample_value("butterfly_loki_adjusted_total", {"exporter": "loki", "kind": kind})


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
async def loki(clocks):
    server = FakeLoki(wall=clocks.wall)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def rig(tmp_path, loki, clocks):
    made = []
    before = acks.leaked()

    async def build(**options):
        one = Rig(tmp_path / f"dead-{len(made)}", loki, clocks, options)
        await one.queue.start()
        made.append(one)
        return one

    yield build
    for one in made:
        await one.queue.stop(1)
    assert acks.leaked() == before


async def test_records_arrive_as_entries_with_their_ids(rig, loki):
    one = await rig(tenant_id="butterfly", headers={"X-Extra": "1"})
    await one.deliver(
        request(["a", "b"], **{"butterfly.request.id": "req-1", "butterfly.node.id": "n-1", "peer": "n-2"})
    )
    assert loki.lines() == ["a", "b"]
    labels = '{level="info", service_name="api"}'
    assert loki.kept[labels, NOW, "a"] == {
        "trace_id": "00" * 15 + "01",
        "request_id": "req-1",
        "node_id": "n-1",
        "peer": "n-2",
        "scope_name": "consensus",
    }
    ((path, headers, status),) = loki.requests
    assert (path, status) == ("/loki/api/v1/push", 204)
    assert (headers["X-Scope-OrgID"], headers["X-Extra"]) == ("butterfly", "1")


async def test_a_json_line_has_the_fields_of_butterflys_logs(rig, loki):
    one = await rig(line="json")
    await one.deliver(
        request(["voted"], **{"butterfly.request.id": "req-1", "butterfly.component": "raft", "peer": "n-2"})
    )
    ((_, _, line),) = loki.kept
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(NOW // 10**9))
    assert json.loads(line) == {
        "timestamp": stamp,
        "level": "info",
        "message": "voted",
        "trace_id": "00" * 15 + "01",
        "request_id": "req-1",
        "component": "raft",
        "fields": {"peer": "n-2"},
    }


async def test_a_body_that_is_a_line_of_json_already_is_the_line(rig, loki):
    one = await rig(line="json")
    line = '{"timestamp":"2026-01-31T12:00:00.000Z","level":"info","message":"m","request_id":"req-9","fields":{}}'
    await one.deliver(request([line], peer="n-2"))
    ((key, metadata),) = loki.kept.items()
    assert key[2] == line
    assert (metadata["request_id"], metadata["peer"]) == ("req-9", "n-2")


async def test_one_poison_entry_among_a_thousand_is_dead_lettered_alone(rig, loki):
    one = await rig()
    bodies = [f"line {n}" for n in range(999)]
    for place in (0, 500, 998, 613):
        loki.requests.clear()
        await one.deliver(request([*bodies[:place], f"poison {place}", *bodies[place:]], service=f"s{place}"))
        assert one.dead()[-1] == ("too_far_behind", [f"poison {place}"])
        assert len(loki.requests) - 1 <= 2 * math.log2(1000)
    assert len(loki.kept) == 4 * 999
    assert (one.account.delivered, one.account.dead_lettered["refused"]) == (4 * 999, 4)


async def test_many_poison_entries_cost_a_bounded_number_of_requests(rig, loki):
    one = await rig()
    await one.deliver(request([f"poison {n}" if n % 2 else f"good {n}" for n in range(400)]))
    assert len(loki.requests) <= 1 + 2 * 64
    assert len(loki.kept) == 200, "what is fine was taken, wherever it stood"
    assert sum(len(bodies) for _, bodies in one.dead()) >= 200
    assert {body for _, bodies in one.dead() for body in bodies} >= {f"poison {n}" for n in range(1, 400, 2)}


async def test_what_exceeds_a_limit_never_reaches_loki(rig, loki):
    one = await rig()
    week, minutes = 7 * 86400 * 10**9, 600 * 10**9
    await one.deliver(
        request(["old"], start=NOW - week - 1),
        request(["oldest that goes"], start=NOW - week),
        request(["ahead"], start=NOW + minutes + 1),
        request(["furthest that goes"], start=NOW + minutes),
        request(["é" * 200_000]),
        request(["big"], key="v" * 70_000, **{f"k{n}": "v" for n in range(200)}),
        request(["label"], service="é" * 2000),
        request(["no time"], start=0),
    )
    assert [status for _, _, status in loki.requests if status != 204] == []
    assert sorted(one.dead()) == [("too_far_ahead", ["ahead"]), ("too_old", ["old"])]
    assert {len(line.encode()) for line in loki.lines() if line[0] == "é"} == {256 << 10}
    (metadata,) = [each for (_, _, line), each in loki.kept.items() if line == "big"]
    assert len(metadata) == 128
    assert "key" not in metadata
    ((labels, _, _),) = [key for key in loki.kept if key[2] == "label"]
    assert parse_labels(labels)["service_name"] == "é" * 1024
    assert [key[1] for key in loki.kept if key[2] == "no time"] == [NOW]
    for kind, times in (
        ("line_truncated", 1),
        ("label_value_truncated", 1),
        ("metadata_dropped", 201 + 2 - 128),
        ("without_time", 1),
        ("stream_collapsed", 0),
    ):
        assert one.adjusted(kind) == times, kind


async def test_lines_may_be_refused_instead_of_cut(rig, loki):
    one = await rig(limits={"max_line_size": 300, "max_line_size_truncate": False})
    await one.deliver(request(["x" * 301, "x" * 300]))
    assert loki.lines() == ["x" * 300]
    assert one.dead() == [("line_too_long", ["x" * 301])]


async def test_over_the_cap_label_sets_share_a_stream(rig, loki, clocks):
    one = await rig(limits={"max_streams": 2, "stream_idle_period": "60s"}, static_labels={"cluster": "eu"})
    await one.deliver(*[request([name], service=name) for name in "abcd"])
    streams = {line: labels for labels, _, line in loki.kept}
    assert streams["a"] == '{cluster="eu", level="info", service_name="a"}'
    assert streams["c"] == streams["d"] == '{butterfly_overflow="true", cluster="eu", level="info"}'
    assert [each["service_name"] for (_, _, line), each in loki.kept.items() if line == "d"] == ["d"]
    assert one.adjusted("stream_collapsed") == 2
    assert one.meter.registry.get_sample_value("butterfly_loki_streams", {"exporter": "loki"}) == 2
    clocks.seconds = 50
    await one.deliver(request(["a again"], service="a"))
    clocks.seconds = 100
    await one.deliver(request(["c again"], service="c"), request(["d again"], service="d"))
    streams = {line: labels for labels, _, line in loki.kept}
    assert streams["c again"] == '{cluster="eu", level="info", service_name="c"}', "b made room"
    assert "butterfly_overflow" in streams["d again"], "a didn't: it was in use"


async def test_a_pause_that_loki_asks_for_is_passed_on(loki, clocks, tmp_path):
    one = Rig(tmp_path, loki, clocks, {})
    await one.exporter.start()
    staged = one.exporter.stage(batch(request(["a"])))
    for status, headers, wish in ((429, {"Retry-After": "7"}, 7), (503, {"Retry-After": "3"}, 3), (502, {}, None)):
        loki.script = [(status, headers)]
        with pytest.raises(RetryableExportError) as error:
            await one.exporter.send(staged)
        assert error.value.retry_after_ns == (None if wish is None else wish * 10**9)
    assert await one.exporter.send(staged) == []
    assert loki.lines() == ["a"]
    await one.exporter.stop()


async def test_what_fails_for_a_while_is_delivered_once(rig, loki):
    one = await rig()
    loki.script = [(500, {}), (503, {}), (429, {}), (502, {}), (504, {})]
    await one.deliver(request([f"line {n}" for n in range(20)]))
    assert len(loki.kept) == 20
    assert loki.copies == 0
    assert one.dead() == []


async def test_a_proxy_that_waits_no_longer_refuses_nothing(rig, loki):
    one = await rig()
    loki.script = [(408, {}), (408, {})]
    await one.deliver(request(["a"]))
    assert loki.lines() == ["a"]
    assert one.dead() == []


@pytest.mark.parametrize("status", [401, 403, 404, 302])
async def test_a_refusal_of_the_sender_waits_for_a_repair(rig, loki, status, caplog):
    one = await rig()
    loki.down = status
    one.offer(request(["a"]))
    async with asyncio.timeout(10):
        while len(loki.requests) < 3:
            await asyncio.sleep(0.002)
    assert "check endpoint, headers, tenant and credentials" in caplog.text
    assert one.dead() == []
    loki.down = None
    await one.until(1)
    assert loki.lines() == ["a"]


async def test_a_loki_that_takes_no_structured_metadata_is_not_given_dead_letters(rig, loki):
    one = await rig()
    loki.metadata = False
    one.offer(request(["a", "b"]))
    async with asyncio.timeout(10):
        while len(loki.requests) < 3:
            await asyncio.sleep(0.002)
    assert one.dead() == []
    loki.metadata = True
    await one.until(1)
    assert loki.lines() == ["a", "b"]


async def test_a_push_that_is_too_large_is_split(rig, loki):
    one = await rig()
    loki.most_bytes = 3000
    chance = Random(7)
    lines = [f"{n} {chance.randbytes(10).hex()}" for n in range(300)]
    await one.deliver(request([*lines, chance.randbytes(4000).hex()]))
    assert loki.lines() == sorted(lines)
    assert [(reason, len(bodies)) for reason, bodies in one.dead()] == [("too_large", 1)]


async def test_a_push_that_lokis_parts_cannot_hand_on_is_split_at_once(rig, loki):
    one = await rig()
    loki.most_message = 3000
    lines = [f"line {n}" for n in range(300)]
    await one.deliver(request([*lines, "x" * 4000]))
    assert loki.lines() == sorted(lines)
    assert one.dead() == [("too_large", ["x" * 4000])]


async def test_pushes_stay_below_the_size_that_loki_ever_takes(rig, loki):
    one = await rig(limits={"max_push_size": 20_000})
    loki.burst = 20_000
    await one.deliver(request(["x" * 1000 + str(n) for n in range(100)]))
    assert len(loki.kept) == 100
    assert {status for _, _, status in loki.requests} == {204}


async def test_a_push_over_the_burst_is_divided_in_time(rig, loki, clocks):
    one = await rig()
    loki.burst = 20_000
    one.offer(request(["x" * 1000 + str(n) for n in range(100)]))
    async with asyncio.timeout(10):
        while len(loki.requests) < 2:  # the first answer has been heard
            await asyncio.sleep(0.002)
    clocks.seconds = 301
    loki.burst = 60_000
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while not one.ended:
            await asyncio.sleep(0.01)
    assert len(loki.kept) == 100
    assert one.dead() == []


async def test_an_entry_that_loki_fails_on_for_ever_is_found(rig, loki, clocks):
    one = await rig()
    one.offer(request([*(f"line {n}" for n in range(200)), "crash", "last"]))
    async with asyncio.timeout(10):
        while len(loki.requests) < 3:
            await asyncio.sleep(0.002)
    assert one.dead() == []
    clocks.seconds = 301
    async with asyncio.timeout(10):
        while len(loki.kept) < 201:
            await asyncio.sleep(0.002)
    seen = len(loki.requests)
    async with asyncio.timeout(10):
        while len(loki.requests) < seen + 2:
            await asyncio.sleep(0.002)
    assert one.dead() == [], "it has been alone for a moment"
    clocks.seconds = 602
    await one.until(1)
    assert len(loki.kept) == 201
    assert one.dead() == [("server_error", ["crash"])]


async def test_an_outage_with_500_is_not_mistaken_for_such_an_entry(loki, clocks, tmp_path):
    one = Rig(tmp_path, loki, clocks, {})
    await one.exporter.start()
    staged = one.exporter.stage(batch(request([f"line {n}" for n in range(200)])))
    loki.down = 500
    for seconds in (0, 301, 700, 1500, 3000):
        clocks.seconds = seconds
        with pytest.raises(RetryableExportError):
            await one.exporter.send(staged)
    assert len(loki.requests) <= 4 * 65 * 2
    loki.down = None
    assert await one.exporter.send(staged) == []
    assert len(loki.kept) == 200
    await one.exporter.stop()


async def test_after_an_outage_with_500_one_more_of_them_costs_nothing(loki, clocks, tmp_path):
    one = Rig(tmp_path, loki, clocks, {})
    await one.exporter.start()
    staged = one.exporter.stage(batch(request([f"line {n}" for n in range(1000)])))
    loki.down = 500
    for seconds in (0, 301, 700):
        clocks.seconds = seconds
        with pytest.raises(RetryableExportError):
            await one.exporter.send(staged)
    sizes = [len(piece) for piece in staged.pieces]
    loki.down = None
    loki.script = [*[None] * sizes.index(max(sizes)), (500, {})]
    assert await one.exporter.send(staged) == []
    assert len(loki.kept) == 1000
    await one.exporter.stop()


@pytest.mark.parametrize("seed", range(5))
async def test_an_outage_that_ends_with_answers_now_500_and_now_not_costs_nothing(loki, clocks, tmp_path, seed):
    one = Rig(tmp_path, loki, clocks, {})
    await one.exporter.start()
    staged = one.exporter.stage(batch(request([f"line {n}" for n in range(200)])))
    chance = Random(seed)
    loki.down = 500
    for seconds in (0, 301, 700):
        clocks.seconds = seconds
        with pytest.raises(RetryableExportError):
            await one.exporter.send(staged)
    loki.down = None
    for _ in range(5):
        clocks.seconds += 30
        loki.script = [(500, {}) if chance.random() < 0.7 else None for _ in range(1000)]
        with contextlib.suppress(RetryableExportError):
            await one.exporter.send(staged)
    loki.script = []
    assert await one.exporter.send(staged) == []
    assert len(loki.kept) == 200
    await one.exporter.stop()


@pytest.mark.parametrize("status", [429, 503])
async def test_an_hour_of_something_else_between_two_answers_500_is_no_hour_of_500(loki, clocks, tmp_path, status):
    one = Rig(tmp_path, loki, clocks, {})
    await one.exporter.start()
    staged = one.exporter.stage(batch(request(["a", "b"])))
    staged.cut(1)
    for clocks.seconds, each in ((0, 500), (1, status), (3600, status), (5000, 500), (5001, 500)):
        loki.script = [(each, {})]
        with pytest.raises(RetryableExportError):
            await one.exporter.send(staged)
    assert await one.exporter.send(staged) == []
    assert loki.lines() == ["a", "b"]
    await one.exporter.stop()


async def test_time_under_a_rate_limit_is_no_time_of_failing(loki, clocks, tmp_path):
    one = Rig(tmp_path, loki, clocks, {})
    await one.exporter.start()
    staged = one.exporter.stage(batch(request(["a", "b"])))
    staged.cut(1)
    for clocks.seconds, status in ((0, 429), (400, 500), (401, 500), (402, 500)):
        loki.script = [(status, {})]
        with pytest.raises(RetryableExportError):
            await one.exporter.send(staged)
    assert await one.exporter.send(staged) == []
    assert loki.lines() == ["a", "b"]
    await one.exporter.stop()


async def test_a_lone_entry_that_loki_fails_on_does_not_stop_the_others_for_ever(rig, loki, clocks):
    one = await rig()
    one.offer(request(["crash"]))
    async with asyncio.timeout(10):
        while len(loki.requests) < 2:
            await asyncio.sleep(0.002)
    clocks.seconds = 3599
    seen = len(loki.requests)
    async with asyncio.timeout(10):
        while len(loki.requests) < seen + 2:
            await asyncio.sleep(0.002)
    assert one.dead() == []
    clocks.seconds = 3700
    one.offer(request(["after"]))
    await one.until(2)
    assert loki.lines() == ["after"]
    assert one.dead() == [("server_error", ["crash"])]


async def test_what_grows_too_old_while_loki_is_away_is_left_out(rig, loki, clocks):
    one = await rig()
    week = 7 * 86400
    loki.down = 503
    one.offer(request(["first", "second"], start=NOW, step=10 * 10**9))
    async with asyncio.timeout(10):
        while not loki.requests:
            await asyncio.sleep(0.002)
    clocks.seconds = week + 5
    loki.down = None
    await one.until(1)
    assert loki.lines() == ["second"]
    assert one.dead() == [("too_old", ["first"])]


async def test_after_a_crash_the_same_entries_are_sent_and_recognised(rig, loki):
    payload = request([f"line {n}" for n in range(50)], **{"a.b": "1"})
    first = await rig()
    loki.script = ["lost"]
    first.offer(payload)
    async with asyncio.timeout(10):
        while not loki.requests:
            await asyncio.sleep(0.002)
    await first.queue.stop(0)
    kept = dict(loki.kept)
    assert len(kept) == 50
    second = await rig()
    await second.deliver(payload)
    assert loki.kept == kept
    assert loki.copies >= 50
    assert [push.SerializeToString() for push in loki.pushes] == [loki.pushes[0].SerializeToString()] * len(loki.pushes)


async def test_resumed_requests_send_only_what_is_left(rig, loki):
    one = await rig(limits={"max_push_size": 5000})
    loki.script = [None, (503, {}), None, None, (503, {})]
    await one.deliver(request(["x" * 400 + str(n) for n in range(60)]))
    assert len(loki.kept) == 60
    assert loki.copies == 0


async def test_entries_of_a_stream_are_pushed_in_order_of_time(rig, loki):
    one = await rig()
    await one.deliver(request([f"b {n}" for n in range(20)], start=NOW + 100, step=-3), request(["a"], start=NOW))
    (push,) = loki.pushes
    assert [entry.line for entry in push.streams[0].entries][:2] == ["a", "b 19"]


async def test_the_otlp_endpoint_gets_the_request_as_it_is(rig, loki):
    one = await rig(format="otlp")
    bodies = [f"line {n}" for n in range(300)]
    await one.deliver(request([*bodies[:70], "poison", *bodies[70:]]))
    assert loki.lines() == sorted(bodies)
    assert one.dead() == [("too_far_behind", ["poison"])]
    assert {path for path, _, _ in loki.requests} == {"/otlp/v1/logs"}
    old = NOW - 8 * 86400 * 10**9
    await one.deliver(request(["old"], start=old))
    assert one.dead()[-1] == ("too_old", ["old"])


async def test_a_request_that_is_not_otlp_is_refused_whole(loki, clocks, tmp_path):
    one = Rig(tmp_path, loki, clocks, {})
    with pytest.raises(RejectedExportError, match="isn't OTLP"):
        one.exporter.stage(Batch(b"\x0a\x05", Ack.ignore(), signal=Signal.LOGS, count=1))
