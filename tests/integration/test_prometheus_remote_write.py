"""What a real Prometheus of each remote write version has stored, compared through its query API."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import struct
import time

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import Ack, Batch, BuildContext, Meter, RetryableExportError, Signal
from exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from tests.property import prw_metrics
from tests.property.prw_reference import STALE, Reference

SECOND = 10**9
_NUMBERS = itertools.count()


@pytest.fixture(params=["prometheus", "prometheus_v1"])
def server(request):
    found = request.getfixturevalue(request.param)
    found.supports_2_0 = request.param == "prometheus"
    return found


@pytest.fixture
def namespace():
    """A prefix that no other test of the session uses."""
    return f"prw{next(_NUMBERS)}"


@pytest.fixture
async def make(tmp_path):
    started = []

    async def build(server, **options):
        config = PrometheusRemoteWriteExporter.Config.model_validate({"endpoint": server.write_url, **options})
        exporter = PrometheusRemoteWriteExporter(
            config, BuildContext("prometheus_remote_write", logging.getLogger("test"), Meter(), tmp_path)
        )
        await exporter.start()
        started.append(exporter)
        return exporter

    yield build
    for exporter in started:
        await exporter.stop()


async def send(exporter, payload):
    """Refused rows by reason."""
    staged = exporter.stage(Batch(payload, Ack.ignore(), signal=Signal.METRICS))
    return {refusal.reason: refusal.rows.nonzero()[0].tolist() for refusal in await exporter.send(staged)}


def float_of(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def matches(expected, server, namespace):
    """Compare every sample of the namespace; how many floats and native histograms there were."""
    until = time.time() + 3600
    floats, natives = {}, {}
    for labels, values in expected.items():
        for at, value in values.items():
            if isinstance(value, tuple):
                if value[2] != STALE:
                    natives.setdefault(labels, []).append((at, value))
            elif value != STALE:
                floats.setdefault(labels, []).append((at, float_of(value)))
    selector = f'{{__name__=~"{namespace}_.*"}}'
    found = server.samples(selector, until)
    assert set(found) == set(floats)
    for labels, values in floats.items():
        assert [at for at, _ in found[labels]] == [at for at, _ in sorted(values)]
        for (_, got), (_, value) in zip(found[labels], sorted(values, key=lambda each: each[0]), strict=True):
            assert got == value or (math.isnan(got) and math.isnan(value)), labels
    found = server.histograms(selector, until)
    assert set(found) == set(natives)
    for labels, values in natives.items():
        for (at, got), (wanted_at, value) in zip(found[labels], sorted(values), strict=True):
            assert at == wanted_at
            same_histogram(got, value)
    return len(floats), len(natives)


def same_histogram(got, value):
    _, count, total, scale, threshold, zero, negative, positive = value
    assert float(got["count"]) == count
    assert float(got["sum"]) == float_of(total) or math.isnan(float_of(total))
    width = 2.0**-scale
    expected = [(-(2.0 ** (i * width)), -(2.0 ** ((i - 1) * width)), n) for i, n in reversed(negative)]
    if zero:
        expected.append((-float_of(threshold), float_of(threshold), zero))
    expected += [(2.0 ** ((i - 1) * width), 2.0 ** (i * width), n) for i, n in positive]
    buckets = [(float(low), float(high), float(n)) for _, low, high, n in got.get("buckets", [])]
    if zero and not negative and positive:  # a zero bucket reaches to below zero only where there is something below
        buckets[0] = (-buckets[0][1], *buckets[0][1:])
    if zero and negative and not positive:
        buckets[-1] = (buckets[-1][0], -buckets[-1][0], buckets[-1][2])
    assert [n for _, _, n in buckets] == [n for _, _, n in expected]
    for (low, high, _), (wanted_low, wanted_high, _) in zip(buckets, expected, strict=True):
        assert low == pytest.approx(wanted_low)
        assert high == pytest.approx(wanted_high)


def everything(now):
    """Every type with its edges, in one request."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for key, value in (("service.name", "gateway"), ("service.namespace", "b"), ("host.name", "h-1")):
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_metrics.add(schema_url="https://opentelemetry.io/schemas/1.30.0")
    scope.scope.name = "inference"
    scope.scope.version = "1.2"
    gauge = scope.metrics.add(name="temperature", unit="Cel", description="How hot").gauge
    for at, value in enumerate((1.5, math.nan, math.inf, -math.inf, -0.0, 5e-324)):
        gauge.data_points.add(time_unix_nano=now - (9 - at) * SECOND, as_double=value)
    gauge.data_points.add(time_unix_nano=now, flags=1)
    counter = scope.metrics.add(name="served.requests", unit="{request}").sum
    counter.is_monotonic = True
    counter.aggregation_temporality = 2
    for ago, start, value in ((30, 40, 7), (20, 40, 9), (5, 6, 1), (0, 6, 4)):  # a reset, and a gap before it
        point = counter.data_points.add(
            time_unix_nano=now - ago * SECOND, start_time_unix_nano=now - start * SECOND, as_int=value
        )
        point.attributes.add(key="http.method").value.string_value = "GET"
        point.attributes.add(key="http_method").value.string_value = "POST"
        point.attributes.add(key="empty").value.string_value = ""
    exemplar = point.exemplars.add(time_unix_nano=now, as_int=4, trace_id=bytes(range(16)), span_id=bytes(range(8)))
    exemplar.filtered_attributes.add(key="peer").value.string_value = "node-7"
    exemplar.filtered_attributes.add(key="long").value.string_value = "x" * 100
    scope.metrics.add(name="queue.length").sum.data_points.add(time_unix_nano=now, as_int=-3)
    scope.metrics[-1].sum.aggregation_temporality = 2
    histogram = scope.metrics.add(name="latency", unit="s").histogram
    histogram.aggregation_temporality = 2
    histogram.data_points.add(
        time_unix_nano=now, count=6, sum=2.5, bucket_counts=[1, 2, 0, 3], explicit_bounds=[0.005, 0.1, 1e6]
    )
    histogram.data_points[0].exemplars.add(time_unix_nano=now, as_double=0.05, trace_id=b"t" * 16)
    big = scope.metrics.add(name="big").histogram
    big.aggregation_temporality = 2
    bounds = [number / 8 for number in range(10_000)]
    big.data_points.add(time_unix_nano=now, count=10_001, bucket_counts=[1] * 10_001, explicit_bounds=bounds)
    gone = scope.metrics.add(name="gone").histogram
    gone.aggregation_temporality = 2
    gone.data_points.add(time_unix_nano=now, flags=1)
    summary = scope.metrics.add(name="size", unit="By").summary
    point = summary.data_points.add(time_unix_nano=now, count=3, sum=math.inf)
    point.quantile_values.add(quantile=0.5, value=2)
    point.quantile_values.add(quantile=1.0, value=math.nan)
    natives = scope.metrics.add(name="native", unit="s").exponential_histogram
    natives.aggregation_temporality = 2
    for at, (scale, offset, counts) in enumerate(
        (
            (0, -3, [1, 0, 0, 0, 0, 2]),
            (12, 5, [3] * 400),
            (-4, 0, [1]),
            (3, 0, [1, 0, 1, 0, 0, 1]),
            (8, -5, [1] * 10_000),
        )
    ):
        for negative in (False, True):
            point = natives.data_points.add(time_unix_nano=now - SECOND, scale=scale, zero_count=2, sum=1.25)
            point.attributes.add(key="at").value.int_value = 2 * at + negative
            point.positive.offset = offset
            point.positive.bucket_counts.extend(counts)
            if negative:
                point.negative.offset = offset + 1
                point.negative.bucket_counts.extend(counts)
            point.count = 2 + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
    empty = natives.data_points.add(time_unix_nano=now, scale=2)
    empty.attributes.add(key="at").value.string_value = "empty"
    stale = natives.data_points.add(time_unix_nano=now, flags=1)
    stale.attributes.extend(natives.data_points[0].attributes)
    natives.data_points[3].exemplars.add(time_unix_nano=now, as_double=1.01, span_id=b"s" * 8)
    return request.SerializeToString()


async def test_every_type_is_stored_as_it_was_meant(make, server, namespace):
    now = time.time_ns() // SECOND * SECOND
    payload = everything(now)
    exporter = await make(server, namespace=namespace, external_labels={"region": "eu"}, timeout="30s")
    assert await send(exporter, payload) == {}
    expected = Reference(namespace=namespace, external=(("region", "eu"),)).translate(payload)
    floats, natives = matches(expected.samples, server, namespace)
    assert floats > 10_000
    assert natives == 11
    stored = server.exemplars(f'{{__name__=~"{namespace}_.*"}}', now / SECOND - 100, now / SECOND + 100)
    sent = {
        labels: [(at, float_of(v), own) for at, v, own in each]
        for labels, each in expected.exemplars.items()
        # Prometheus 2.42 looks for an exemplar's series before it has made those of native histograms.
        if server.supports_2_0 or not any(isinstance(value, tuple) for value in expected.samples[labels].values())
    }
    assert stored == sent
    assert sum(map(len, stored.values())) == 2 + server.supports_2_0
    (gone,) = server.query(f"{namespace}_temperature_celsius offset 1s", now / SECOND) or [None]
    assert gone is not None
    assert server.query(f"{namespace}_temperature_celsius", now / SECOND) == [], "the series is marked as stale"
    joined = f"{namespace}_queue_length * on (job) group_left (host_name) {namespace}_target_info"
    (result,) = server.query(joined, now / SECOND)
    assert result["metric"]["host_name"] == "h-1"
    assert result["value"][1] == "-3"


async def test_what_is_sent_again_changes_nothing(make, server, namespace):
    now = time.time_ns() // SECOND * SECOND
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for number in range(50):
        point = scope.metrics.add(name=f"m{number}").gauge.data_points.add(time_unix_nano=now, as_double=math.nan)
        point.as_double = number
    payload = request.SerializeToString()
    exporter = await make(server, namespace=namespace)
    for _ in range(3):
        assert await send(exporter, payload) == {}
    found = server.samples(f'{{__name__=~"{namespace}_.*"}}', time.time() + 60)
    assert len(found) == 50
    assert {len(samples) for samples in found.values()} == {1}


async def test_one_conflicting_sample_in_a_thousand_costs_itself_alone(make, server, namespace):
    now = time.time_ns() // SECOND * SECOND
    exporter = await make(server, namespace=namespace)

    def gauges(count, at, value):
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add().scope_metrics.add()
        for number in count:
            scope.metrics.add(name=f"m{number}").gauge.data_points.add(time_unix_nano=at, as_double=value)
        return request.SerializeToString()

    assert await send(exporter, gauges([617], now, 1.0)) == {}
    assert list(await send(exporter, gauges(range(1000), now, 2.0))) in [["duplicate"], ["bad_request"]]
    assert list(await send(exporter, gauges([617], now - SECOND, 1.0))) == ["out_of_order"]
    found = server.samples(f'{{__name__=~"{namespace}_.*"}}', time.time() + 60)
    assert len(found) == 1000
    assert found[("__name__", f"{namespace}_m617"),] == [(now // 10**6, 1.0)]
    assert found[("__name__", f"{namespace}_m616"),] == [(now // 10**6, 2.0)]


async def test_a_histogram_that_makes_prometheus_fail_costs_itself_alone(make, server, namespace):
    """Debian's Prometheus answers 500 to a native histogram that is out of order, and would for ever."""
    now = time.time_ns() // SECOND * SECOND
    exporter = await make(server, namespace=namespace, max_retry_age="1ms", remote_write_queue={"num_consumers": 1})

    def natives(numbers, at):
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add().scope_metrics.add()
        for number in numbers:
            metric = scope.metrics.add(name=f"n{number}").exponential_histogram
            metric.aggregation_temporality = 2
            metric.data_points.add(time_unix_nano=at, count=1, zero_count=1, sum=0)
        return request.SerializeToString()

    assert await send(exporter, natives([5], now)) == {}
    staged = exporter.stage(Batch(natives(range(16), now - SECOND), Ack.ignore(), signal=Signal.METRICS))
    refusals = None
    for _ in range(30):
        try:
            refusals = await exporter.send(staged)
            break
        except RetryableExportError:
            await asyncio.sleep(0.002)
    assert refusals is not None
    assert [each.rows.nonzero()[0].tolist() for each in refusals] == [[5]]
    found = server.histograms(f'{{__name__=~"{namespace}_.*"}}', time.time() + 60)
    assert len(found) == 16


async def test_deltas_are_stored_as_counters(make, server, namespace):
    now = time.time_ns() // SECOND * SECOND - 100 * SECOND
    exporter = await make(server, namespace=namespace)
    chooser = random.Random(5)
    total, count, native = 0, 0, 0
    for second in range(1, 6):
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add().scope_metrics.add()
        times = {"start_time_unix_nano": now + (second - 1) * SECOND, "time_unix_nano": now + second * SECOND}
        counter = scope.metrics.add(name="served").sum
        counter.is_monotonic = True
        counter.aggregation_temporality = 1
        counter.data_points.add(as_int=second, **times)
        histogram = scope.metrics.add(name="took").histogram
        histogram.aggregation_temporality = 1
        histogram.data_points.add(count=3, sum=1.0, bucket_counts=[1, 2], explicit_bounds=[1.0], **times)
        native_histogram = scope.metrics.add(name="native").exponential_histogram
        native_histogram.aggregation_temporality = 1
        point = native_histogram.data_points.add(**times)
        prw_metrics.fill_exponential(chooser, point, sound=True)
        total, count, native = total + second, count + 3, native + point.count
        for _ in range(2):  # the second is a copy
            assert await send(exporter, request.SerializeToString()) == {}
    at = now / SECOND + 5
    assert [each["value"][1] for each in server.query(f"{namespace}_served_total", at)] == [str(total)]
    assert [each["value"][1] for each in server.query(f"{namespace}_took_count", at)] == [str(count)]
    assert [each["value"][1] for each in server.query(f"histogram_count({namespace}_native)", at)] == [str(native)]
    assert len(next(iter(server.samples(f"{namespace}_served_total", at + 60).values()))) == 5


@pytest.mark.parametrize("seed", range(3))
async def test_made_up_requests_are_stored_as_the_reference_translates_them(make, server, namespace, seed, monkeypatch):
    monkeypatch.setattr(prw_metrics, "NOW", time.time_ns() // SECOND * SECOND - 10 * SECOND)
    chooser = random.Random(seed)
    payload = b"".join(prw_metrics.metrics_request(chooser).SerializeToString() for _ in range(6))
    options = {"namespace": namespace, "target_info": {"enabled": False}}
    exporter = await make(server, **options)
    refused = await send(exporter, payload)
    expected = Reference(namespace=namespace).translate(payload)
    ours = {row: reason for reason, rows in refused.items() for row in rows if reason != "conflict"}
    assert ours == expected.refused
    samples = {
        labels: values
        for labels, values in expected.samples.items()
        if ("__name__", f"{namespace}_target_info") not in labels
    }
    matches(samples, server, namespace)


async def test_a_prometheus_of_2_0_is_spoken_to_in_2_0(make, prometheus, namespace):
    exporter = await make(prometheus, namespace=namespace)
    assert await send(exporter, everything(time.time_ns() // SECOND * SECOND)) == {}
    assert exporter._lanes._dialect.version == 2


async def test_a_prometheus_of_1_0_alone_is_found_out(make, prometheus_v1, namespace):
    exporter = await make(prometheus_v1, namespace=namespace)
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="m").gauge.data_points.add(time_unix_nano=time.time_ns(), as_double=1)
    assert await send(exporter, request.SerializeToString()) == {}
    assert exporter._lanes._dialect.version == 1
    assert len(prometheus_v1.samples(f"{namespace}_m", time.time() + 60)) == 1


async def test_an_exemplar_out_of_order_costs_no_sample(make, server, namespace):
    """Prometheus 3 answers 400 to it, having written every sample: nothing may be divided, sent again and refused."""
    exporter = await make(server, remote_write_queue={"num_consumers": 1})
    now = time.time_ns() // SECOND * SECOND - 60 * SECOND
    for number, taken in enumerate((now, now - 10 * SECOND)):
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=f"{namespace}.gauge")
        for second in (1, 2, 3):
            at = now + (10 * number + second) * SECOND
            point = metric.gauge.data_points.add(time_unix_nano=at, as_double=second)
        point.exemplars.add(time_unix_nano=taken, as_double=1.0, trace_id=bytes([number + 1] * 16), span_id=b"s" * 8)
        assert await send(exporter, request.SerializeToString()) == {}
    ((_, samples),) = server.samples(f"{namespace}_gauge", now / SECOND + 60).items()
    assert [value for _, value in samples] == [1.0, 2.0, 3.0] * 2
