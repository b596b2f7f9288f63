"""The exporter against a made-up backend: versions, refusals, retries, order."""

from __future__ import annotations

import asyncio
import logging
import math
import time

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import Ack, Batch, BuildContext, ConfigError, Meter, RetryableExportError, Signal
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from collector.telemetry.item_outcomes import ItemOutcomes
from collector.telemetry.ledger import Account
from exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from tests.unit.exporters.prometheus_remote_write.prw_backend import V1_TYPE, V2_TYPE, Backend, gauges


@pytest.fixture
async def make(tmp_path):
    started = []

    async def build(url, *, start=True, **options):
        options.setdefault("remote_write_queue", {"num_consumers": 2})
        config = PrometheusRemoteWriteExporter.Config.model_validate({"endpoint": url, **options})
        exporter = PrometheusRemoteWriteExporter(
            config, BuildContext("prometheus_remote_write", logging.getLogger("test"), Meter(), tmp_path)
        )
        if start:
            await exporter.start()
            started.append(exporter)
        return exporter

    yield build
    for exporter in started:
        await exporter.stop()


def staged(exporter, payload):
    return exporter.stage(Batch(payload, Ack.ignore(), signal=Signal.METRICS))


def reasons(refusals):
    return {refusal.reason: refusal.rows.nonzero()[0].tolist() for refusal in refusals}


NAMES = [f"m{number}" for number in range(1000)]


@pytest.mark.parametrize(
    ("message", "version", "kind"), [("auto", 2, V2_TYPE), ("prometheus.WriteRequest", 1, V1_TYPE)]
)
async def test_a_request_arrives_with_its_headers(make, message, version, kind):
    backend = Backend()
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message=message, headers={"X-Scope-OrgID": "tenant"})
        assert await exporter.send(staged(exporter, gauges(NAMES[:10], time.time_ns()))) == []
    assert {made for made, _ in backend.requests} == {version}
    assert backend.names() == sorted(NAMES[:10])
    for headers in backend.headers:
        assert headers["Content-Type"] == kind
        assert headers["Content-Encoding"] == "snappy"
        assert headers["X-Prometheus-Remote-Write-Version"] == {1: "0.1.0", 2: "2.0.0"}[version]
        assert headers["X-Scope-OrgID"] == "tenant"


@pytest.mark.parametrize("kind", ["silent", "unsupported", "bad request"])
async def test_a_backend_without_2_0_gets_1_0_and_nothing_is_lost(make, kind):
    def rule(backend, samples):
        return {"unsupported": 415, "bad request": 400}.get(kind) if backend.requests[-1][0] == 2 else None

    backend = Backend(1, rule)
    if kind != "silent":
        backend = Backend(2, lambda made, _: web.Response(status=rule(made, _)) if rule(made, _) else None)
    async with backend.serving() as url:
        exporter = await make(url, remote_write_queue={"num_consumers": 1})
        assert await exporter.send(staged(exporter, gauges(NAMES[:10], time.time_ns()))) == []
        assert await exporter.send(staged(exporter, gauges(NAMES[10:20], time.time_ns()))) == []
    assert backend.names() == sorted(NAMES[:20])
    assert [version for version, _ in backend.requests] == [2, 1, 1]


@pytest.mark.parametrize("count", ["²", "-1", "1e3", "9" * 5000])
async def test_a_count_of_what_was_written_that_is_none_is_nothing_written(make, count):
    backend = Backend(
        2, lambda *_: web.Response(status=204, headers={"X-Prometheus-Remote-Write-Samples-Written": count})
    )
    async with backend.serving() as url:
        exporter = await make(url)
        assert reasons(await exporter.send(staged(exporter, gauges(["m"], time.time_ns())))) == {"not_written": [0]}


@pytest.mark.parametrize("answer", [204, 400])
async def test_nothing_is_taken_for_stored_or_refused_when_1_0_is_suddenly_unsupported(make, answer):
    def rule(backend, _):
        if backend.requests[-1][0] == 2:
            return web.Response(status=answer)
        return 415 if backend.broken else None

    backend = Backend(2, rule)
    backend.broken = False
    async with backend.serving() as url:
        exporter = await make(url, remote_write_queue={"num_consumers": 1})
        assert await exporter.send(staged(exporter, gauges(NAMES[:5], time.time_ns()))) == []
        backend.broken = True
        request = staged(exporter, gauges(NAMES[5:10], time.time_ns()))
        with pytest.raises(RetryableExportError, match="neither"):
            await exporter.send(request)
        backend.broken = False
        assert await exporter.send(request) == []
    assert backend.names() == sorted(NAMES[:10])
    assert [version for version, _ in backend.requests] == [2, 1, 1, 2, 1]


async def test_a_pinned_version_that_is_not_understood_waits(make):
    backend = Backend(1)
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message="io.prometheus.write.v2.Request")
        request = staged(exporter, gauges(NAMES[:3], time.time_ns()))
        with pytest.raises(RetryableExportError, match="does not understand"):
            await exporter.send(request)


@pytest.mark.parametrize("message", ["auto", "prometheus.WriteRequest"])
async def test_one_bad_sample_in_a_thousand_costs_itself_alone(make, message):
    def rule(backend, samples):
        return 400 if any(dict(labels)["__name__"] == "m617" for labels, _, _ in samples) else None

    backend = Backend(2, rule)
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message=message)
        good = await exporter.send(staged(exporter, gauges(["good"], time.time_ns())))
        before = len(backend.requests)
        refusals = await exporter.send(staged(exporter, gauges(NAMES, time.time_ns())))
    assert good == []
    assert reasons(refusals) == {"bad_request": [617]}
    assert backend.names() == sorted({*NAMES, "good"} - {"m617"})
    assert len(backend.requests) - before - 2 <= 2 * math.ceil(math.log2(1000))


async def test_target_info_that_is_refused_is_counted_and_costs_no_point(make):
    request = ExportMetricsServiceRequest.FromString(gauges(NAMES[:5], time.time_ns()))
    for key, value in (("service.name", "s"), ("host.name", "h")):
        request.resource_metrics[0].resource.attributes.add(key=key).value.string_value = value

    def rule(_, samples):
        return 400 if any(dict(labels)["__name__"] == "target_info" for labels, _, _ in samples) else None

    backend = Backend(2, rule)
    async with backend.serving() as url:
        exporter = await make(url)
        assert await exporter.send(staged(exporter, request.SerializeToString())) == []
    assert backend.names() == sorted(NAMES[:5])
    counted = exporter.context.meter.registry.get_sample_value
    labels = {"exporter": "prometheus_remote_write"}
    assert counted("butterfly_remote_write_refused_target_info_total", labels) == 1


@pytest.mark.parametrize("message", ["auto", "prometheus.WriteRequest"])
async def test_a_request_of_which_half_is_refused_is_sorted_out(make, message):
    def rule(backend, samples):
        return 400 if any(int(dict(labels)["__name__"][1:]) % 2 for labels, _, _ in samples) else None

    backend = Backend(2, rule)
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message=message)
        await exporter.send(staged(exporter, gauges(["m0"], time.time_ns())))
        refusals = await exporter.send(staged(exporter, gauges(NAMES, time.time_ns())))
    assert reasons(refusals) == {"bad_request": list(range(1, 1000, 2))}
    assert set(backend.names()) == set(NAMES[::2])


async def test_a_backend_that_refuses_everything_is_soon_left_alone(make, caplog):
    backend = Backend(2, lambda *_: 400)
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message="prometheus.WriteRequest")
        refusals = await exporter.send(staged(exporter, gauges(NAMES, time.time_ns())))
        assert reasons(refusals) == {"bad_request": list(range(1000))}
        first = len(backend.requests)
        assert first <= 2 * (1 + 2 * 128), "two for each division, and one for each of the lanes"
        assert "samples of one request were refused together" in caplog.text
        await exporter.send(staged(exporter, gauges(NAMES, time.time_ns())))
        assert len(backend.requests) - first <= 2 * (1 + 2 * 32), "and then fewer"
    assert caplog.text.count("refused together") == 1, "once a minute"


async def test_what_is_good_still_gets_through_when_no_divisions_are_left(make):
    def rule(backend, samples):
        return 400 if any(int(dict(labels)["__name__"][1:]) < 500 for labels, _, _ in samples) else None

    backend = Backend(2, rule)
    async with backend.serving() as url:
        exporter = await make(
            url,
            max_samples_per_request=250,
            protobuf_message="prometheus.WriteRequest",
            remote_write_queue={"num_consumers": 1},
        )
        refusals = await exporter.send(staged(exporter, gauges(NAMES, time.time_ns())))
    (refused,) = reasons(refusals).values()
    assert refused == list(range(500))
    assert len(backend.stored) == 500
    assert len(backend.requests) <= 4 + 2 * 128 + 2 * 32


@pytest.mark.parametrize(
    ("said", "reason"),
    [("out of order sample", "out_of_order"), ("Duplicate sample for timestamp", "duplicate"), ("no", "bad_request")],
)
async def test_the_reason_is_told_without_the_backends_words(make, said, reason):
    def rule(backend, samples):
        if any(dict(labels)["__name__"] == "m3" for labels, _, _ in samples):
            return web.Response(status=400, text=f"{said} secret")
        return None

    backend = Backend(2, rule)
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message="prometheus.WriteRequest")
        (refusal,) = await exporter.send(staged(exporter, gauges(NAMES[:10], time.time_ns())))
    assert refusal.reason == reason
    assert "secret" not in refusal.sentence
    assert len(backend.stored) == 9


async def test_what_2_0_did_not_write_is_found(make):
    def rule(backend, samples):
        written = sum(dict(labels)["__name__"] != "m4" for labels, _, _ in samples)
        backend.stored.update({(labels, t): v for labels, t, v in samples if dict(labels)["__name__"] != "m4"})
        return web.Response(status=204, headers={"x-prometheus-remote-write-samples-written": str(written)})

    backend = Backend(2, rule)
    async with backend.serving() as url:
        exporter = await make(url)
        refusals = await exporter.send(staged(exporter, gauges(NAMES[:16], time.time_ns())))
    assert reasons(refusals) == {"not_written": [4]}
    assert len(backend.stored) == 15


@pytest.mark.parametrize("status", [429, 503, 401, 404, 302])
async def test_the_data_waits_and_goes_on_where_it_stopped(make, status):
    def rule(backend, samples):
        if backend.closed and len(backend.requests) > 3:
            return web.Response(status=status, headers={"Retry-After": "7"})
        return None

    backend = Backend(2, rule)
    backend.closed = True
    async with backend.serving() as url:
        exporter = await make(url, max_samples_per_request=10, remote_write_queue={"num_consumers": 1})
        request = staged(exporter, gauges(NAMES[:100], time.time_ns()))
        with pytest.raises(RetryableExportError) as raised:
            await exporter.send(request)
        backend.closed = False
        assert await exporter.send(request) == []
    assert backend.names() == sorted(NAMES[:100])
    assert len(backend.requests) == 11, "only the one that failed is sent again"
    if status in {429, 503}:
        assert raised.value.retry_after_ns == 7 * 10**9


async def test_a_sample_that_the_backend_fails_on_for_long_is_refused_and_others_go_on(make):
    def rule(backend, samples):
        return 500 if any(dict(labels)["__name__"] == "m5" for labels, _, _ in samples) else None

    backend = Backend(2, rule)
    now = [0.0]
    async with backend.serving() as url:
        exporter = await make(url, max_retry_age="1m", protobuf_message="prometheus.WriteRequest")
        exporter._lanes._clock = lambda: now[0]
        request = staged(exporter, gauges(NAMES[:64], time.time_ns()))
        for _ in range(3):
            with pytest.raises(RetryableExportError, match="500"):
                await exporter.send(request)
            now[0] += 20
        now[0] += 1
        refusals = None
        for _ in range(10):
            try:
                refusals = await exporter.send(request)
                break
            except RetryableExportError:
                now[0] += 1
    assert reasons(refusals) == {"server_error": [5]}
    assert len(backend.stored) == 63


async def test_a_backend_that_fails_on_everything_is_not_hammered_and_loses_nothing_for_twelve_times_that_time(make):
    backend = Backend(2, lambda backend, _: 500 if backend.broken else None)
    backend.broken = True
    now = [0.0]
    async with backend.serving() as url:
        exporter = await make(url, remote_write_queue={"num_consumers": 1})
        exporter._lanes._clock = lambda: now[0]
        request = staged(exporter, gauges(NAMES[:64], time.time_ns()))
        for now[0] in range(0, 720, 12):
            with pytest.raises(RetryableExportError):
                await exporter.send(request)
        assert len(backend.requests) == 60, "one request an attempt"
        backend.broken = False
        assert await exporter.send(request) == []
    assert backend.names() == sorted(NAMES[:64])


async def test_an_outage_that_begins_on_one_lane_first_is_not_mistaken_for_a_bad_sample(make):
    answers = iter([500, None])
    backend = Backend(2, lambda backend, _: next(answers, 500) if backend.broken else None)
    backend.broken = True
    now = [0.0]
    async with backend.serving() as url:
        exporter = await make(url, protobuf_message="prometheus.WriteRequest")
        exporter._lanes._clock = lambda: now[0]
        request = staged(exporter, gauges(NAMES, time.time_ns()))
        for now[0] in range(0, 119, 2):
            with pytest.raises(RetryableExportError):
                await exporter.send(request)
        assert 0 < len(backend.stored) < 1000, "the other lane was in time"
        backend.broken = False
        assert await exporter.send(request) == []
    assert set(backend.names()) == set(NAMES)


async def test_samples_of_a_series_arrive_in_order_one_request_at_a_time(make):
    arrived = {}

    def rule(backend, samples):
        for labels, at, _ in samples:
            arrived.setdefault(labels, []).append(at)

    backend = Backend(2, rule)
    start = time.time_ns() - 10**12
    async with backend.serving() as url:
        exporter = await make(url, max_samples_per_request=7, remote_write_queue={"num_consumers": 4})
        payload = b"".join(gauges(NAMES[:40], start + n * 10**9) for n in (3, 1, 2, 0))
        await exporter.send(staged(exporter, payload))
        await exporter.send(staged(exporter, gauges(NAMES[:40], start + 4 * 10**9)))
    assert backend.most_in_flight == 4
    assert backend.overtaken == set()
    assert len(arrived) == 40
    for times in arrived.values():
        assert times == sorted(times)
        assert len(times) == 5


async def test_points_from_the_future_and_without_time_go_to_nobody(make):
    backend = Backend()
    now = time.time_ns()
    async with backend.serving() as url:
        exporter = await make(url)
        payload = gauges(["now"], now) + gauges(["later"], now + 3600 * 10**9) + gauges(["never"], 0)
        refusals = await exporter.send(staged(exporter, payload))
    assert reasons(refusals) == {"future": [1], "invalid_time": [2]}
    assert backend.names() == ["now"]


async def test_a_request_of_nothing_needs_no_request(make):
    backend = Backend()
    async with backend.serving() as url:
        exporter = await make(url)
        assert await exporter.send(staged(exporter, b"")) == []
    assert backend.requests == []


async def test_no_backend_is_no_error_at_the_start(make):
    exporter = await make("http://127.0.0.1:9/write")
    request = staged(exporter, gauges(["m"], time.time_ns()))
    with pytest.raises(RetryableExportError, match="can't be reached"):
        await exporter.send(request)


def delta(second, value, start):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="served")
    metric.sum.aggregation_temporality = 1
    metric.sum.is_monotonic = True
    metric.sum.data_points.add(
        start_time_unix_nano=start + (second - 1) * 10**9, time_unix_nano=start + second * 10**9, as_int=value
    )
    return request.SerializeToString()


async def test_sums_over_deltas_go_on_after_a_restart_and_count_no_copy(make):
    backend = Backend()
    start = time.time_ns() - 10**11
    async with backend.serving() as url:
        first = await make(url)
        await first.send(staged(first, delta(1, 5, start)))
        await first.send(staged(first, delta(2, 7, start)))
        lost = staged(first, delta(3, 100, start))  # never sent: its sum is not durable
        assert lost.changes is not None
        await first.stop()
        second = await make(url)
        await second.send(staged(second, delta(2, 7, start)))
        await second.send(staged(second, delta(3, 1, start)))
    sums = sorted((time, value) for (_, time), value in backend.stored.items())
    assert [value for _, value in sums] == [5.0, 12.0, 13.0]


async def test_nothing_is_sent_before_its_sums_are_on_the_disk(make):
    backend = Backend()
    async with backend.serving() as url:
        exporter = await make(url)
        request = staged(exporter, delta(1, 5, time.time_ns() - 10**10))
        exporter._file.close()
        with pytest.raises(RetryableExportError, match="data_dir"):
            await exporter.send(request)
    assert backend.requests == []


async def test_a_file_of_sums_that_is_none_is_set_aside(make, tmp_path, caplog):
    (tmp_path / "prometheus_remote_write.totals.db").write_bytes(b"no database at all" * 1000)
    exporter = await make("http://127.0.0.1:9/write")
    assert "begin anew" in caplog.text
    assert (tmp_path / "prometheus_remote_write.totals.db.damaged").exists()
    assert staged(exporter, delta(1, 5, time.time_ns())).changes is not None


async def test_the_queue_dead_letters_the_refused_points_alone(make, tmp_path):
    def rule(backend, samples):
        return 400 if any(dict(labels)["__name__"] == "m3" for labels, _, _ in samples) else None

    backend = Backend(2, rule)
    ended, account, outcomes = asyncio.Event(), Account("metrics"), ItemOutcomes(11)
    account.accept(11)

    def done(outcome, reason):
        account.settle_each(outcomes, outcome, reason)
        ended.set()

    now = time.time_ns()
    async with backend.serving() as url:
        exporter = await make(url, start=False, sending_queue={"batch": {"flush_timeout": "10ms"}})
        log = logging.getLogger("test.queue")
        queue = ExportQueue(exporter, DeadLetter(tmp_path / "dead", 1 << 20), Meter(), durable=True, log=log)
        await queue.start()
        payload = gauges(NAMES[:10], now) + gauges(["later"], now + 3600 * 10**9)
        queue.offer(Batch(payload, Ack(done), signal=Signal.METRICS, account=account, outcomes=outcomes))
        async with asyncio.timeout(10):
            await ended.wait()
        await queue.stop(1)
    found = {}
    for letter in read(tmp_path / "dead"):
        request = ExportMetricsServiceRequest.FromString(letter.payload)
        names = [m.name for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]
        found[letter.reason.partition(":")[0]] = (letter.items, names)
    assert found == {"future": (1, ["later"]), "bad_request": (1, ["m3"])}
    assert len(backend.stored) == 9
    assert (account.delivered, account.held, account.imbalance()) == (9, 0, 0)


async def test_the_sums_belong_to_one_process(make):
    await make("http://127.0.0.1:9/write")
    with pytest.raises(ConfigError, match="another process"):
        await make("http://127.0.0.1:9/write")
