"""OTLP/JSON of metrics and logs: the specification's examples, and every rule by name."""

# ruff: noqa: UP031 - JSON is full of braces, so the percent sign is the readable way to fill it in

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from collector.wire import Malformed, from_json, to_json

DATA = Path(__file__).parents[3] / "data"


def metric_text(fields: str) -> bytes:
    return ('{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{%s}]}]}]}' % fields).encode()


def read_metric(fields: str) -> Metric:
    payload = from_json(metric_text(fields), "metrics")
    return ExportMetricsServiceRequest.FromString(payload).resource_metrics[0].scope_metrics[0].metrics[0]


def read_point(fields: str) -> Any:
    return read_metric('"gauge":{"dataPoints":[{%s}]}' % fields).gauge.data_points[0]


def log_text(fields: str) -> bytes:
    return ('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{%s}]}]}]}' % fields).encode()


def read_record(fields: str) -> LogRecord:
    payload = from_json(log_text(fields), "logs")
    return ExportLogsServiceRequest.FromString(payload).resource_logs[0].scope_logs[0].log_records[0]


def test_the_example_of_metrics_is_the_message_that_protobuf_reads() -> None:
    text = (DATA / "opentelemetry_proto_metrics.json").read_bytes()
    expected = json_format.Parse(text, ExportMetricsServiceRequest())  # it has no ids
    payload = from_json(text, "metrics")
    assert ExportMetricsServiceRequest.FromString(payload) == expected
    (scope,) = expected.resource_metrics[0].scope_metrics
    kinds = ["sum", "gauge", "histogram", "exponential_histogram"]
    assert [metric.WhichOneof("data") for metric in scope.metrics] == kinds
    example = json.loads(text)
    # Written as the example is, but for a number without presence that has its default value.
    histogram = example["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][3]["exponentialHistogram"]
    for name in ("scale", "zeroThreshold"):
        assert histogram["dataPoints"][0].pop(name) == 0
    assert json.loads(to_json(payload, "metrics")) == example


def test_the_example_of_logs_goes_in_and_comes_out_equal() -> None:
    text = (DATA / "opentelemetry_proto_logs.json").read_bytes()
    payload = from_json(text, "logs")
    example = json.loads(text)
    (record,) = example["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    ids = {name: record.pop(name) for name in ("traceId", "spanId")}
    expected = json_format.ParseDict(example, ExportLogsServiceRequest())
    read = ExportLogsServiceRequest.FromString(payload)
    (ours,) = read.resource_logs[0].scope_logs[0].log_records
    assert (ours.trace_id, ours.span_id) == tuple(map(bytes.fromhex, ids.values()))
    ours.ClearField("trace_id")
    ours.ClearField("span_id")
    assert read == expected
    record |= {name: value.lower() for name, value in ids.items()}
    assert json.loads(to_json(payload, "logs")) == example


@pytest.mark.parametrize("kind", ["sum", "histogram", "exponentialHistogram"])
@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ('"1"', 1), ('"AGGREGATION_TEMPORALITY_CUMULATIVE"', 2), ("2.0", 2), ("77", 77), ("-1", -1)],
)
def test_temporality_is_a_number_or_a_name(kind: str, text: str, number: int) -> None:
    metric = read_metric('"%s":{"aggregationTemporality":%s}' % (kind, text))
    assert getattr(metric, str(metric.WhichOneof("data"))).aggregation_temporality == number


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ('"SEVERITY_NUMBER_FATAL4"', 24), ('"SEVERITY_NUMBER_UNSPECIFIED"', 0), ("99", 99)]
)
def test_severity_is_a_number_or_a_name(text: str, number: int) -> None:
    assert read_record('"severityNumber":%s' % text).severity_number == number


@pytest.mark.parametrize("text", ['"%d"', "%d"])
@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1])
def test_the_value_of_a_point_is_exact(text: str, number: int) -> None:
    point = read_point('"asInt":%s' % (text % number))
    assert (point.WhichOneof("value"), point.as_int) == ("as_int", number)


def test_counts_of_64_bits() -> None:
    metric = read_metric(
        '"histogram":{"dataPoints":[{"count":"18446744073709551615","bucketCounts":[18446744073709551615,"1",0],'
        '"explicitBounds":[1,"2.5"],"timeUnixNano":18446744073709551615}]}'
    )
    (point,) = metric.histogram.data_points
    assert (point.count, list(point.bucket_counts)) == (2**64 - 1, [2**64 - 1, 1, 0])
    assert (list(point.explicit_bounds), point.time_unix_nano) == ([1.0, 2.5], 2**64 - 1)
    metric = read_metric(
        '"exponentialHistogram":{"dataPoints":[{"scale":-10,"zeroCount":"7","zeroThreshold":1e-9,'
        '"negative":{"offset":-2147483648,"bucketCounts":["0","2"]}}]}'
    )
    (exponential,) = metric.exponential_histogram.data_points
    assert (exponential.scale, exponential.zero_count, exponential.zero_threshold) == (-10, 7, 1e-9)
    assert (exponential.negative.offset, list(exponential.negative.bucket_counts)) == (-(2**31), [0, 2])


@pytest.mark.parametrize(("text", "number"), [('"Infinity"', math.inf), ('"-Infinity"', -math.inf), ("1", 1.0)])
def test_doubles_beyond_numbers_are_strings(text: str, number: float) -> None:
    point = read_point('"asDouble":%s' % text)
    assert (point.WhichOneof("value"), point.as_double) == ("as_double", number)
    metric = read_metric('"histogram":{"dataPoints":[{"sum":%s,"min":%s,"explicitBounds":[%s]}]}' % (text, text, text))
    (histogram,) = metric.histogram.data_points
    assert (histogram.sum, histogram.min, list(histogram.explicit_bounds)) == (number, number, [number])
    metric = read_metric('"summary":{"dataPoints":[{"quantileValues":[{"quantile":0.5,"value":%s}]}]}' % text)
    assert metric.summary.data_points[0].quantile_values[0].value == number


def test_not_a_number_is_a_string() -> None:
    assert math.isnan(read_point('"asDouble":"NaN"').as_double)
    with pytest.raises(Malformed):
        read_point('"asDouble":NaN')


def test_zero_is_a_value_and_no_value_is_none() -> None:
    assert read_point('"asDouble":0').WhichOneof("value") == "as_double"
    assert read_point('"asInt":"0"').WhichOneof("value") == "as_int"
    assert read_point('"asInt":null,"flags":1').WhichOneof("value") is None


def test_exemplars_have_hex_ids() -> None:
    (exemplar,) = read_point(
        '"exemplars":[{"traceId":"5B8EFFF798038103d269b633813fc60c","spanId":"eee19b7ec3c1B174","asInt":"5",'
        '"filteredAttributes":[{"key":"k","value":{"bytesValue":"-_8"}}],"timeUnixNano":"7"}]'
    ).exemplars
    assert exemplar.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert exemplar.span_id.hex() == "eee19b7ec3c1b174"
    assert (exemplar.as_int, exemplar.time_unix_nano) == (5, 7)
    assert exemplar.filtered_attributes[0].value.bytes_value == b"\xfb\xff"
    for field in ('"traceId":"eee19b7ec3c1b174"', '"spanId":"W47/95gDgQM="'):
        with pytest.raises(Malformed, match=r"dataPoints\[0\].exemplars\[0\].(trace|span)Id: expected"):
            read_point('"exemplars":[{%s}]' % field)


def test_a_body_is_any_value() -> None:
    assert read_record('"body":{"bytesValue":"AAEC/w=="}').body.bytes_value == b"\0\1\2\xff"
    deep = read_record('"body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{},{}]}}}]}}').body
    assert len(deep.kvlist_value.values[0].value.array_value.values) == 2
    assert read_record('"body":{}').HasField("body")
    assert not read_record('"body":null').HasField("body")


def test_unknown_fields_are_ignored_and_snake_case_is_read() -> None:
    point = read_point('"as_int":1,"time_unix_nano":"2","new":{"dataPoints":[{"asInt":5}]},"AsInt":3,"start":[[]]')
    assert (point.as_int, point.time_unix_nano) == (1, 2)
    record = read_record(
        '"event_name":"e","observed_time_unix_nano":3,"profile":{"body":1},"dropped_attributes_count":4'
    )
    assert (record.event_name, record.observed_time_unix_nano, record.dropped_attributes_count) == ("e", 3, 4)


@pytest.mark.parametrize(
    "fields",
    [
        '"gauge":{},"sum":{}',
        '"gauge":{},"gauge":{}',
        '"gauge":{"dataPoints":[{"asInt":1,"asDouble":1}]}',
        '"gauge":{"dataPoints":[{"asInt":1.5}]}',
        '"gauge":{"dataPoints":[{"asInt":"9223372036854775808"}]}',
        '"gauge":{"dataPoints":{}}',
        '"histogram":{"dataPoints":[{"bucketCounts":["-1"]}]}',
        '"histogram":{"dataPoints":[{"bucketCounts":"1"}]}',
        '"exponentialHistogram":{"dataPoints":[{"scale":2147483648}]}',
        '"sum":{"isMonotonic":1}',
        '"sum":{"aggregationTemporality":"DELTA"}',
    ],
)
def test_metrics_that_are_refused(fields: str) -> None:
    with pytest.raises(Malformed, match=r"^resourceMetrics\[0\]\.scopeMetrics\[0\]\.metrics\[0\]\."):
        from_json(metric_text(fields), "metrics")


@pytest.mark.parametrize(
    "fields",
    [
        '"severityNumber":"INFO"',
        '"traceId":"abc"',
        '"spanId":"zzzzzzzzzzzzzzzz"',
        '"body":"text"',
        '"timeUnixNano":-1',
        '"flags":4294967296',
    ],
)
def test_logs_that_are_refused(fields: str) -> None:
    with pytest.raises(Malformed, match=r"^resourceLogs\[0\]\.scopeLogs\[0\]\.logRecords\[0\]\."):
        from_json(log_text(fields), "logs")
