"""`scan_metrics` and `validate_metrics` by example; test_points_and_logs_against_protobuf.py has the rest."""

from __future__ import annotations

import time
from pathlib import Path

import mmh3
import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from collector.wire import (
    LogIndex,
    Malformed,
    PointIndex,
    SpanIndex,
    replace_points,
    scan_metrics,
    select,
    validate,
    validate_metrics,
)
from collector.wire.rewrite import sample
from tests.fuzz.mutate import varint
from tests.fuzz.signals import check

COLUMNS = {
    "time": np.uint64, "start": np.uint64, "offset": np.uint32, "length": np.uint32, "flags": np.uint32,
    "exemplars": np.uint32, "kind": np.uint8, "temporality": np.uint8, "monotonic": np.bool_, "metric": np.uint32,
    "resource": np.uint32, "scope": np.uint32, "attributes": np.uint64, "series": np.uint64,
    "metric_offset": np.uint32, "metric_length": np.uint32, "name_offset": np.uint32, "name_length": np.uint32,
}  # fmt: skip
GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 0x2A, 0x3A, 0x4A, 0x52, 0x5A


def field(tag: int, body: bytes) -> bytes:
    return varint(tag) + varint(len(body)) + body


def request(*metrics: bytes) -> bytes:
    return field(0x0A, field(0x12, b"".join(field(0x12, metric) for metric in metrics)))


def point(time_unix_nano: int = 0) -> bytes:
    return field(0x0A, b"\x19" + time_unix_nano.to_bytes(8, "little"))


def attribute(key: str, text: str) -> KeyValue:
    made = KeyValue(key=key)
    made.value.string_value = text
    return made


def named(index: PointIndex, payload: bytes) -> list[bytes]:
    at = zip(index.name_offset.tolist(), index.name_length.tolist(), strict=True)
    return [payload[begin : begin + size] for begin, size in at]


def test_columns_are_read_only_and_of_their_types() -> None:
    index = scan_metrics(request(field(GAUGE, point(7)), field(SUM, point(8) + point(9))))
    assert index.count == 3
    assert repr(index) == "<PointIndex rows=3>"
    for name, kind in COLUMNS.items():
        column = getattr(index, name)
        assert column.dtype == kind
        assert len(column) == (2 if "_" in name else 3)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    time_column = index.time
    del index
    assert time_column.tolist() == [7, 8, 9]


def test_nothing_has_no_rows() -> None:
    for payload in (b"", request(), request(b""), request(field(0x0A, b"up")), request(field(GAUGE, b""))):
        index = validate_metrics(payload)
        assert index.count == len(index.series) == 0
    assert validate_metrics(request(b"", field(0x0A, b"up"))).metric_offset.size == 2


def test_the_last_kind_wins_and_occurrences_of_one_kind_merge() -> None:
    lost, won = field(SUM, point(1) + b"\x10\x01\x18\x01"), field(SUM, point(2)) + field(SUM, b"\x10\x02" + point(3))
    metric = lost + field(GAUGE, point(4) * 2) + won[:12] + won[12:] + field(0x0A, b"late")
    payload = request(field(GAUGE, point(5)), metric)
    index = validate_metrics(payload)
    assert check("metrics", payload)
    assert index.time.tolist() == [5, 2, 3]
    assert index.kind.tolist() == [5, 7, 7]
    assert index.temporality.tolist() == [0, 2, 2]
    assert index.monotonic.tolist() == [False, False, False]
    assert index.metric.tolist() == [0, 1, 1]
    assert named(index, payload) == [b"", b"late"]


def test_a_selection_keeps_what_does_not_count_and_drops_metrics_without_points() -> None:
    metric = field(SUM, point(1)) + field(GAUGE, point(2) + b"\xb8\x3f\x05" + point(3)) + b"\xb8\x3f\x06"
    payload = request(field(GAUGE, point(4)), metric)
    index = scan_metrics(payload)
    kept = select(payload, index, np.array([False, False, True]))
    assert kept == request(field(SUM, point(1)) + field(GAUGE, b"\xb8\x3f\x05" + point(3)) + b"\xb8\x3f\x06")
    assert select(payload, index, np.zeros(3, np.bool_)) == b""
    assert select(payload, index, np.ones(3, np.bool_)) == payload
    replaced = replace_points(payload, index, {1: b"\x19" + (9).to_bytes(8, "little")})
    assert scan_metrics(replaced).time.tolist() == [4, 9, 3]


def test_an_index_of_another_payload_is_refused() -> None:
    payload = request(field(GAUGE, point(1) + point(2)))
    other = scan_metrics(request(field(GAUGE, point(1))))
    with pytest.raises(ValueError, match="not this payload's"):
        select(payload, other, np.ones(1, np.bool_))
    with pytest.raises(TypeError, match="tracestate"):
        sample(payload, scan_metrics(payload), np.ones(2, np.bool_), np.zeros(2, np.uint64))  # type: ignore[arg-type]


def test_hashes_know_attributes_and_not_their_order_or_encoding() -> None:
    pairs = [attribute("http.route", "/infer"), attribute("zone", "x" * 200), attribute("", "")]
    made = ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="up")
    for order in (pairs, pairs[::-1], pairs[:2], [attribute("http.route", "/infe"), attribute("r", "")]):
        metric.gauge.data_points.add().attributes.extend(order)
    index = scan_metrics(made.SerializeToString())
    texts = [pair.SerializeToString() for pair in pairs]
    expected = sum(mmh3.hash64(text, signed=False)[0] for text in texts) % 2**64
    assert index.attributes[0] == index.attributes[1] == expected
    assert len(set(index.attributes.tolist())) == len(set(index.series.tolist())) == 3
    key, value = field(0x0A, b"http.route"), field(0x12, field(0x0A, b"/infer"))
    forms = (key + value, value + key, field(0x0A, b"k") + value + key, key + b"\x12\x00" + value + b"\xba\x3e\x00")
    odd = scan_metrics(request(*[field(GAUGE, field(0x0A, field(0x3A, form))) for form in forms]))
    assert set(odd.attributes.tolist()) == {mmh3.hash64(texts[0], signed=False)[0]}


@pytest.mark.parametrize("part", ["resource", "scope name", "scope version", "scope", "name", "unit", "kind", "point"])
def test_a_series_is_told_from_one_that_differs_in_one_thing(part: str) -> None:
    made = ExportMetricsServiceRequest()
    for other in (False, True):
        resource = made.resource_metrics.add()
        scope = resource.scope_metrics.add()
        changed = part if other else ""
        resource.resource.attributes.append(attribute("service.name", "b" if changed == "resource" else "a"))
        scope.scope.name = "b" if changed == "scope name" else "a"
        scope.scope.version = "b" if changed == "scope version" else "a"
        scope.scope.attributes.append(attribute("k", "b" if changed == "scope" else "a"))
        metric = scope.metrics.add(name="b" if changed == "name" else "a", unit="b" if changed == "unit" else "a")
        data = metric.gauge if changed == "kind" else metric.sum
        data.data_points.add().attributes.append(attribute("k", "b" if changed == "point" else "a"))
    first, second = scan_metrics(made.SerializeToString()).series.tolist()
    assert first != second
    again = ExportMetricsServiceRequest()
    again.resource_metrics.extend([made.resource_metrics[0]] * 2)
    assert scan_metrics(again.SerializeToString()).series.tolist() == [first, first]


@pytest.mark.parametrize(
    ("tag", "body", "good"),
    [
        (HISTOGRAM, field(0x32, bytes(16)), True),       # bucket_counts, packed
        (HISTOGRAM, field(0x32, bytes(15)), False),
        (HISTOGRAM, b"\x31" + bytes(8), True),           # not packed
        (HISTOGRAM, field(0x3A, bytes(9)), False),       # explicit_bounds
        (EXPONENTIAL, field(0x42, field(0x12, b"\x01\x80\x01")), True),
        (EXPONENTIAL, field(0x4A, field(0x12, b"\x01\x80")), False),
        (EXPONENTIAL, field(0x42, b"\x10\x05"), True),
        (GAUGE, field(0x32, bytes(15)), True),           # as_int of another wire type: unknown
        (SUMMARY, field(0x32, field(0x0A, b"\xff")), True),
        (SUMMARY, field(0x32, b"\x09"), False),
        (SUM, field(0x2A, field(0x3A, field(0x0A, b"\xff"))), False),    # an exemplar's attribute
        (SUM, field(0x2A, field(0x2A, b"\xff")), True),  # its trace id
        (GAUGE, field(0x3A, field(0x0A, b"\xff")), False),
    ],
)  # fmt: skip
def test_what_is_in_a_point_is_looked_into(tag: int, body: bytes, good: bool) -> None:
    for metric in (field(tag, field(0x0A, body)), field(tag, field(0x0A, body)) + field(GAUGE, b"")):
        assert check("metrics", request(metric)) == good


@pytest.mark.parametrize("text", [0x0A, 0x12, 0x1A])
def test_texts_of_a_metric_are_utf8(text: int) -> None:
    assert check("metrics", request(field(text, "ü".encode())))
    assert not check("metrics", request(field(text, b"\xfc")))
    with pytest.raises(Malformed, match="not UTF-8"):
        validate_metrics(request(field(text, b"\xfc")))


def test_values_nest_as_deep_as_allowed() -> None:
    value = b"\x10\x01"
    for _ in range(32):
        value = field(0x2A, field(0x0A, value))
    payload = request(field(GAUGE, field(0x0A, field(0x3A, field(0x12, value)))))
    with pytest.raises(Malformed, match="nested"):
        validate_metrics(payload)
    assert validate_metrics(payload, max_depth=33).count == 1
    assert validate_metrics(payload, max_depth=33).attributes[0] == mmh3.hash64(field(0x12, value), signed=False)[0]


def peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_too_many_points_or_metrics_are_refused_before_anything_is_allocated() -> None:
    points = request(field(GAUGE, b"\x0a\x00" * 2_000_000))
    metrics = request(*[b""] * 1_000_000)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_kib()
    begin = time.thread_time()
    for payload in (points, metrics):
        with pytest.raises(Malformed, match="too many items"):
            validate_metrics(payload, max_points=100_000)
    assert time.thread_time() - begin < 1
    assert peak_kib() - before < 1024
    assert validate_metrics(points, max_points=2_000_000).count == 2_000_000


@pytest.mark.parametrize("kind", [SpanIndex, PointIndex, LogIndex])
def test_an_index_is_made_by_a_scan_alone(kind: type) -> None:
    with pytest.raises(TypeError, match="made by a scan"):
        kind()


def test_only_bytes_are_taken() -> None:
    for function in (scan_metrics, validate_metrics):
        with pytest.raises(TypeError):
            function(bytearray(b""))  # type: ignore[operator]  # the mistake under test


def test_traces_are_not_metrics_but_an_empty_request_is_both() -> None:
    assert validate(b"").count == validate_metrics(b"").count == 0
