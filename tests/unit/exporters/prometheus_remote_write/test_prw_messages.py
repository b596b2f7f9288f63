"""Messages by hand: metadata, start times, native histograms to the bucket, exemplars, target_info, labels."""

import math
import struct

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.remote_write_messages import Request, WriteRequest
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.reasons import REASONS
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.translate import Translator

NOW = 1_700_000_000_000_000_000
MS = NOW // 10**6


def translator(**options):
    return Translator(
        bytes(range(32)), Accumulator(100, 10**18), names=Names("UnderscoreEscapingWithSuffixes").translate,
        render=value_text, bound=bound_text, **options,
    )  # fmt: skip


def request():
    made = ExportMetricsServiceRequest()
    return made, made.resource_metrics.add().scope_metrics.add().metrics


def v1(payload, made=None, *, metadata=False):
    table = (made or translator()).translate(payload, NOW)
    ((begin, end),) = table.lanes
    return WriteRequest.FromString(Messages(table).write_v1(begin, end, metadata))


def v2(payload):
    table = translator().translate(payload, NOW)
    ((begin, end),) = table.lanes
    return Request.FromString(Messages(table).write_v2(begin, end))


def test_the_bytes_of_a_gauge():
    made, metrics = request()
    metrics.add(name="m").gauge.data_points.add(time_unix_nano=NOW, as_double=1.5)
    table = translator().translate(made.SerializeToString(), NOW)
    label = b"\x0a\x0d\x0a\x08__name__\x12\x01m"
    sample = b"\x12\x10\x09" + struct.pack("<d", 1.5) + b"\x10\x80\xd0\x95\xff\xbc\x31"
    assert Messages(table).write_v1(0, 1) == b"\x0a" + bytes((len(label + sample),)) + label + sample


def test_type_help_and_unit_go_along():
    made, metrics = request()
    metric = metrics.add(name="io", unit="By", description="What went through")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    metric.sum.data_points.add(time_unix_nano=NOW, start_time_unix_nano=NOW - 10**9, as_int=1)
    metrics.add(name="level").gauge.data_points.add(time_unix_nano=NOW, as_int=1)
    metrics.add(name="s").summary.data_points.add(time_unix_nano=NOW)
    payload = made.SerializeToString()
    assert not v1(payload).metadata
    found = {each.metric_family_name: (each.type, each.help, each.unit) for each in v1(payload, metadata=True).metadata}
    assert found == {"io_bytes_total": (1, "What went through", "bytes"), "level": (2, "", ""), "s": (5, "", "")}
    message = v2(payload)
    text = message.symbols
    series = {text[each.labels_refs[1]]: each for each in message.timeseries}
    counter = series["io_bytes_total"]
    assert (counter.metadata.type, text[counter.metadata.help_ref]) == (1, "What went through")
    assert text[counter.metadata.unit_ref] == "bytes"
    assert counter.created_timestamp == counter.samples[0].start_timestamp == MS - 1000
    assert series["level"].created_timestamp == 0
    assert (series["level"].metadata.type, series["level"].metadata.help_ref) == (2, 0)


def test_a_series_that_began_anew_stands_twice_in_2_0():
    made, metrics = request()
    metric = metrics.add(name="c")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    for ago, start in ((3, 9), (2, 9), (1, 1)):
        metric.sum.data_points.add(
            time_unix_nano=NOW - ago * 10**9, start_time_unix_nano=NOW - start * 10**9 - 1, as_int=ago
        )
    (one, two) = v2(made.SerializeToString()).timeseries
    assert one.labels_refs == two.labels_refs
    assert ([s.value for s in one.samples], [s.value for s in two.samples]) == ([3.0, 2.0], [1.0])
    assert one.created_timestamp < two.created_timestamp
    assert len(v1(made.SerializeToString()).timeseries) == 1


def test_the_buckets_of_a_native_histogram():
    made, metrics = request()
    metric = metrics.add(name="e")
    metric.exponential_histogram.aggregation_temporality = 2
    point = metric.exponential_histogram.data_points.add(
        time_unix_nano=NOW, scale=9, zero_count=1, zero_threshold=0.5, sum=2, count=17
    )
    point.positive.offset = -1  # at scale 8: -1, 0, 0, 1, 1, ...
    point.positive.bucket_counts.extend([1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3])
    point.negative.offset = 4
    point.negative.bucket_counts.extend([0, 10])
    (series,) = v1(made.SerializeToString()).timeseries
    (found,) = series.histograms
    assert (found.count_int, found.sum, found.schema, found.zero_count_int, found.zero_threshold) == (17, 2, 8, 1, 0.5)
    assert [(each.offset, each.length) for each in found.positive_spans] == [(0, 2), (4, 1)]
    assert list(found.positive_deltas) == [1, 1, 1]
    assert [(each.offset, each.length) for each in found.negative_spans] == [(3, 1)]
    assert list(found.negative_deltas) == [10]
    assert (found.timestamp, found.reset_hint) == (MS, 0)
    assert not series.samples


@pytest.mark.parametrize("scale", [-5, 41])
def test_a_scale_that_prometheus_lacks_is_refused(scale):
    made, metrics = request()
    metric = metrics.add(name="e")
    metric.exponential_histogram.aggregation_temporality = 2
    metric.exponential_histogram.data_points.add(time_unix_nano=NOW, scale=scale)
    table = translator().translate(made.SerializeToString(), NOW)
    assert [REASONS[each] for each in table.reasons] == ["unsupported_scale"]
    assert table.lanes == [(0, 0)]


@pytest.mark.parametrize("offset", [-(2**31), 2**31 - 1])
def test_buckets_beyond_all_numbers_are_refused(offset):
    made, metrics = request()
    metric = metrics.add(name="e")
    metric.exponential_histogram.aggregation_temporality = 1
    point = metric.exponential_histogram.data_points.add(time_unix_nano=NOW, scale=3, count=1)
    point.positive.offset = offset
    point.positive.bucket_counts.append(1)
    table = translator().translate(made.SerializeToString(), NOW)
    assert [REASONS[each] for each in table.reasons] == ["unsupported_scale"]


def test_stale_is_stale_and_nan_is_nan():
    made, metrics = request()
    gauge = metrics.add(name="m").gauge
    gauge.data_points.add(time_unix_nano=NOW - 10**9, as_double=struct.unpack("<d", b"\2\0\0\0\0\0\xf0\x7f")[0])
    gauge.data_points.add(time_unix_nano=NOW, flags=1, as_double=3)
    (series,) = v1(made.SerializeToString()).timeseries
    assert [struct.pack("<d", each.value) for each in series.samples] == [
        b"\1\0\0\0\0\0\xf8\x7f",
        b"\2\0\0\0\0\0\xf0\x7f",
    ]


def test_ids_win_and_the_rest_of_an_exemplar_fits_128_characters():
    made, metrics = request()
    metric = metrics.add(name="c")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    point = metric.sum.data_points.add(time_unix_nano=NOW, as_int=1)
    exemplar = point.exemplars.add(time_unix_nano=NOW - 10**6, as_double=1, trace_id=b"\1" * 16, span_id=b"\2" * 8)
    for key, value in (("trace_id", "mine"), ("a", "é" * 40), ("b", "x" * 30), ("c", "y" * 20)):
        exemplar.filtered_attributes.add(key=key).value.string_value = value
    table = translator().translate(made.SerializeToString(), NOW)
    assert table.exemplars_cut == 1
    (found,) = v1(made.SerializeToString()).timeseries[0].exemplars
    labels = {each.name: each.value for each in found.labels}
    assert labels == {"trace_id": "01" * 16, "span_id": "02" * 8, "a": "é" * 40, "c": "y" * 20}
    assert found.timestamp == MS - 1


def test_target_info_once_a_minute_and_when_it_changes():
    made = translator()

    def sent(second, host, key="host.name"):
        message = ExportMetricsServiceRequest()
        group = message.resource_metrics.add()
        for name, value in (("service.name", "s"), ("service.instance.id", "i"), (key, host)):
            group.resource.attributes.add(key=name).value.string_value = value
        gauge = group.scope_metrics.add().metrics.add(name="m").gauge
        gauge.data_points.add(time_unix_nano=NOW + second * 10**9, as_int=1)
        gauge.data_points.add(time_unix_nano=NOW + second * 10**9 - 5, as_int=1).attributes.add(
            key="a"
        ).value.int_value = 1
        found = v1(message.SerializeToString(), made)
        return [
            {each.name: each.value for each in series.labels} | {"at": series.samples[0].timestamp - MS}
            for series in found.timeseries
            if any(each.value == "target_info" for each in series.labels)
        ]

    first = {"__name__": "target_info", "job": "s", "instance": "i", "host_name": "h"}
    assert sent(0, "h") == [first | {"at": 0}]
    assert sent(30, "h") == []
    assert sent(31, "other") == [first | {"host_name": "other", "at": 31_000}]
    assert sent(61, "h") == [first | {"at": 61_000}]
    assert sent(62, "i", key="service.instance.id") == []  # nothing but what identifies it


def test_one_of_many_attributes_is_found_whatever_their_order():
    made, metrics = request()
    point = metrics.add(name="m").gauge.data_points.add(time_unix_nano=NOW, as_int=1)
    for number in range(200):
        point.attributes.add(key=f"k.{number * 7919 % 200}").value.int_value = number
    point.attributes.add(key="k.5").value.int_value = 999
    (series,) = v1(made.SerializeToString()).timeseries
    names = [each.name for each in series.labels]
    assert names == sorted(names)
    assert len(names) == 201
    assert {each.name: each.value for each in series.labels}["k_5"] == "999"


def test_two_values_at_one_time_contradict_and_copies_do_not():
    made, metrics = request()
    gauge = metrics.add(name="m").gauge
    for value in (1.0, 1.0, 2.0):
        gauge.data_points.add(time_unix_nano=NOW, as_double=value)
    table = translator().translate(made.SerializeToString(), NOW)
    assert [REASONS[each] for each in table.reasons] == ["", "", "conflict"]
    assert (table.lanes, table.duplicates) == ([(0, 1)], 1)


def test_quantiles_and_bounds_are_decimals():
    assert [bound_text(each) for each in (0.1, 1.0, 1e22, 5e-7, math.inf, -math.inf, -0.5, 1e-9)] == [
        b"0.1", b"1", b"10000000000000000000000", b"0.0000005", b"+Inf", b"-Inf", b"-0.5", b"0.000000001",
    ]  # fmt: skip


def test_a_small_request_of_endless_labels_is_not_sent():
    made, metrics = request()
    metric = metrics.add(name="h")
    metric.histogram.aggregation_temporality = 2
    point = metric.histogram.data_points.add(time_unix_nano=NOW, explicit_bounds=range(3000), bucket_counts=[0] * 3001)
    point.attributes.add(key="a").value.string_value = "x" * 500_000  # 1.5 GB, were every bucket to carry it
    metrics.add(name="m").gauge.data_points.add(time_unix_nano=NOW, as_int=1)
    table = translator().translate(made.SerializeToString(), NOW)
    assert [REASONS[each] for each in table.reasons] == ["too_large", ""]
    assert table.lanes == [(0, 1)], "nor is a part of it"
