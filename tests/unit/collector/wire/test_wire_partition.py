"""Splitting requests by partition: single cases, attacks, and what is refused."""

from __future__ import annotations

import random
import time
from functools import cache
from itertools import count, permutations
from pathlib import Path

import mmh3
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from collector.wire import Malformed, partition_logs, partition_metrics, partition_of, partition_spans
from collector.wire.partition import MAX_PARTITIONS

UNLIMITED = 1 << 30
MIB = 1 << 20


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def span(trace_id: bytes, rest: bytes = b"") -> bytes:
    return field(b"\x12", field(b"\x0a", trace_id) + rest)


def scope(*leaves: bytes, header: bytes = b"") -> bytes:
    return field(b"\x12", header + b"".join(leaves))


def request(*scopes: bytes, header: bytes = b"") -> bytes:
    return field(b"\x0a", header + b"".join(scopes))


TAIL = field(b"\x1a", bytes(200))  # a scope's schema URL: the last 129 bytes of a request are read in another way


@cache
def trace_in(partition: int, partitions: int) -> bytes:
    """Some trace id that goes there."""
    ids = (index.to_bytes(16, "big") for index in count(1))
    return next(one for one in ids if mmh3.hash(one, signed=False) % partitions == partition)


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def test_partition_of_is_murmur3() -> None:
    rnd = random.Random(1)
    for size in (*range(20), 16, 16, 16):
        trace_id = rnd.randbytes(size)
        for partitions in (1, 2, 8, 1000, MAX_PARTITIONS):
            assert partition_of(trace_id, partitions) == mmh3.hash(trace_id, signed=False) % partitions


def test_partitions_never_change() -> None:
    """Others have computed these: a change would split the traces of every running installation."""
    assert partition_of(bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"), 1000) == 624
    assert partition_of(b"", 8) == 0
    metrics = ExportMetricsServiceRequest()
    for name in ("checkout", "cart"):
        one = metrics.resource_metrics.add()
        one.resource.attributes.append(attribute("service.name", name))
        one.scope_metrics.add().metrics.add(name="up").gauge.data_points.add()
    assert [part[0] for part in partition_metrics(metrics.SerializeToString(), 1000, UNLIMITED)] == [540, 866]


@pytest.mark.parametrize("partitions", [0, -1, MAX_PARTITIONS + 1])
def test_number_of_partitions_out_of_bounds(partitions: int) -> None:
    with pytest.raises(ValueError, match="partitions"):
        partition_of(b"", partitions)
    with pytest.raises(ValueError, match="partitions"):
        partition_spans(b"", partitions, 1)


def test_max_bytes_is_positive() -> None:
    with pytest.raises(ValueError, match="max_bytes"):
        partition_logs(b"", 1, 0)


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("limit", [1, UNLIMITED])
def test_no_leaves_no_parts(partitions: int, limit: int) -> None:
    for payload in (b"", request(), request(scope(), header=field(b"\x1a", b"url")), b"\xc2\x3e\x03abc"):
        assert partition_spans(payload, partitions, limit) == []


def test_one_partition_gets_the_payload_itself() -> None:
    payload = request(scope(span(b"a" * 16), span(b"b" * 16)), scope())
    ((partition, part, leaves),) = partition_spans(payload, 1, len(payload))
    assert (partition, leaves) == (0, 2)
    assert part is payload


def test_leaves_of_one_partition_get_the_payload_itself() -> None:
    payload = request(scope(span(b"a" * 16), span(b"a" * 16)), scope(span(b"a" * 16)), header=b"\xb8\x3f\x05")
    ((partition, part, leaves),) = partition_spans(payload, 100, len(payload))
    assert (partition, leaves) == (mmh3.hash(b"a" * 16, signed=False) % 100, 3)
    assert part is payload


def test_spans_part_with_their_headers() -> None:
    one, two = trace_in(0, 2), trace_in(1, 2)
    head, library, url = field(b"\x0a", b""), field(b"\x0a", field(b"\x0a", b"lib")), field(b"\x1a", b"url")
    payload = request(scope(span(two), span(one, b"\x30\x01"), url, header=library), url, scope(span(two)), header=head)
    assert partition_spans(payload, 2, UNLIMITED) == [
        (0, request(scope(span(one, b"\x30\x01"), header=library + url), header=head + url), 1),
        (1, request(scope(span(two), header=library + url), scope(span(two)), header=head + url), 2),
    ]


def test_of_a_repeated_trace_id_the_last_counts() -> None:
    one, two = trace_in(0, 2), trace_in(1, 2)
    for url in (b"", TAIL):
        for first, second in (
            (span(one, field(b"\x0a", two)), span(two, field(b"\x0a", one))),
            (span(one, field(b"\x8a\x00", two)), span(two, field(b"\x8a\x00", one))),
        ):
            parts = partition_spans(request(scope(first, second, url)), 2, UNLIMITED)
            assert parts == [(0, request(scope(second, header=url)), 1), (1, request(scope(first, header=url)), 1)]


@pytest.mark.parametrize("size", [0, 1, 15, 17, 130])
def test_trace_ids_of_other_sizes_are_hashed_as_they_are(size: int) -> None:
    odd = random.Random(size).randbytes(size)
    parts = partition_spans(request(scope(span(odd), span(b"a" * 16))), 1000, UNLIMITED)
    assert mmh3.hash(odd, signed=False) % 1000 in [part[0] for part in parts]


def test_logs_go_by_trace_or_else_by_resource() -> None:
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add()
    records.resource.attributes.append(attribute("host.name", "a"))
    by_resource = [b"", bytes(16), b"a" * 15, b"a" * 17]
    for trace_id in (*by_resource, b"a" * 16):
        records.scope_logs.add().log_records.add(trace_id=trace_id, severity_text=trace_id.hex())
    records.resource.attributes.append(attribute("zone", "b"))
    metrics = ExportMetricsServiceRequest()
    like = metrics.resource_metrics.add(resource=records.resource)
    like.scope_metrics.add().metrics.add(name="up").gauge.data_points.add()
    home = partition_metrics(metrics.SerializeToString(), 1000, UNLIMITED)[0][0]
    found = {
        part: [
            one.log_records[0].trace_id for one in ExportLogsServiceRequest.FromString(data).resource_logs[0].scope_logs
        ]
        for part, data, _ in partition_logs(logs.SerializeToString(), 1000, UNLIMITED)
    }
    assert home != partition_of(b"a" * 16, 1000)
    assert found == {home: by_resource, partition_of(b"a" * 16, 1000): [b"a" * 16]}


def test_order_of_attributes_does_not_matter_to_metrics() -> None:
    attributes = [attribute("service.name", "cart"), attribute("host.name", "a"), attribute("zone", "b")]
    metrics = ExportMetricsServiceRequest()
    for order in permutations(attributes):
        one = metrics.resource_metrics.add()
        one.resource.attributes.extend(order)
        one.scope_metrics.add().metrics.add(name="up").gauge.data_points.add()
    split = request(
        field(b"\x0a", field(b"\x0a", attributes[2].SerializeToString())),
        scope(field(b"\x12", field(b"\x0a", b"up") + field(b"\x2a", b"\x0a\x00"))),
        field(b"\x0a", b"".join(field(b"\x0a", one.SerializeToString()) for one in attributes[:2])),
    )
    other = metrics.resource_metrics.add()
    other.resource.attributes.extend(attributes[:2])
    other.scope_metrics.add().metrics.add(name="up").gauge.data_points.add()
    counts = [leaves for _, _, leaves in partition_metrics(metrics.SerializeToString() + split, 1000, UNLIMITED)]
    assert sorted(counts) == [1, 7]


def test_items_of_metrics_are_the_data_points_that_count() -> None:
    metrics = ExportMetricsServiceRequest()
    for number in range(5):
        metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="up")
        for _ in range(number):
            metric.sum.data_points.add()
    lost = field(b"\x2a", b"\x0a\x00" * 3) + field(b"\x3a", b"\x0a\x00") + field(b"\x3a", b"\x0a\x00")
    payload = metrics.SerializeToString() + request(scope(field(b"\x12", lost)))
    assert partition_metrics(payload, 1, UNLIMITED) == [(0, payload, 12)]
    assert partition_metrics(payload, 7, UNLIMITED) == [(0, payload, 12)]
    assert [points for _, _, points in partition_metrics(payload, 1, 1)] == [0, 1, 2, 3, 4, 2]


def test_resources_spread_evenly() -> None:
    metrics = ExportMetricsServiceRequest()
    for number in range(4000):
        one = metrics.resource_metrics.add()
        one.resource.attributes.extend([attribute("service.name", "cart"), attribute("host.name", f"node-{number}")])
        one.scope_metrics.add().metrics.add(name="up").gauge.data_points.add()
    counts = [leaves for _, _, leaves in partition_metrics(metrics.SerializeToString(), 16, UNLIMITED)]
    assert len(counts) == 16
    assert 190 < min(counts) <= max(counts) < 310


def test_parts_are_as_full_as_they_get() -> None:
    payload = request(scope(*[span(bytes(16), field(b"\x2a", b"n" * 60))] * 10))
    three = len(request(scope(*[span(bytes(16), field(b"\x2a", b"n" * 60))] * 3)))
    assert [leaves for _, _, leaves in partition_spans(payload, 1, three)] == [3, 3, 3, 1]
    assert [leaves for _, _, leaves in partition_spans(payload, 1, three - 1)] == [2] * 5


def test_a_leaf_that_is_too_large_stands_alone() -> None:
    small, large = span(bytes(16)), span(bytes(16), field(b"\x2a", bytes(1000)))
    parts = partition_spans(request(scope(small, large, small, small)), 1, 100)
    assert [(leaves, len(part) > 100) for _, part, leaves in parts] == [(1, False), (1, True), (2, False)]


def test_fields_beside_the_resources_come_along_where_there_is_room() -> None:
    unknown = b"\xc2\x3e\x03abc"
    payload = unknown[:6] + request(scope(span(trace_in(0, 2)), span(trace_in(1, 2)))) + unknown
    parts = partition_spans(payload, 2, UNLIMITED)
    assert [part.count(unknown) for _, part, _ in parts] == [2, 0]
    alone = len(request(scope(span(trace_in(0, 2)))))
    assert [len(part) for _, part, _ in partition_spans(payload, 2, alone + 11)] == [alone, alone]
    assert [len(part) for _, part, _ in partition_spans(payload, 2, alone + 12)] == [alone + 12, alone]


def test_large_headers_are_not_repeated_without_end() -> None:
    ids = [trace_in(number, 40) for number in range(40)]
    payload = request(scope(*map(span, ids)), header=field(b"\xc2\x3e", bytes(MIB)))
    with pytest.raises(Malformed, match="repeat"):
        partition_spans(payload, 40, UNLIMITED)
    with pytest.raises(Malformed, match="repeat"):
        partition_spans(payload, 1, MIB)
    assert len(partition_spans(payload, 8, UNLIMITED)) == 8


def test_a_resource_of_4_kib_passes_for_a_thousand_partitions() -> None:
    ids = {mmh3.hash(one, signed=False) % 1000: one for one in (number.to_bytes(16, "big") for number in range(20_000))}
    payload = request(scope(*map(span, ids.values())), header=field(b"\xc2\x3e", bytes(4092)))
    assert len(payload) < 30_000
    assert [part[0] for part in partition_spans(payload, 1000, UNLIMITED)] == list(range(1000))


def test_a_scope_goes_only_where_its_spans_go() -> None:
    rnd = random.Random(3)
    header = field(b"\x0a", field(b"\x0a", b"io.opentelemetry.library"))
    payload = request(*[scope(span(rnd.randbytes(16)), header=header) for _ in range(100_000)])
    begin = time.thread_time()
    parts = partition_spans(payload, 1000, UNLIMITED)
    assert time.thread_time() - begin < 1
    assert sum(leaves for _, _, leaves in parts) == 100_000
    assert sum(len(part) for _, part, _ in parts) < len(payload) + 1000 * 8


def peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_millions_of_empty_things_cost_little() -> None:
    spans = request(scope(b"\x12\x00" * 1_000_000))
    scopes = request(b"\x12\x00" * 1_000_000)
    lonely = request(scope(b"\x12\x04\x2a\x02\x0a\x00")) * 200_000
    holes = request(scope(b"\x12\x00\xb8\x3f\x05" * 300_000))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_kib()
    begin = time.thread_time()
    assert partition_spans(spans, 1000, UNLIMITED)[0][1] is spans
    assert sum(leaves for _, _, leaves in partition_spans(spans, 1000, len(spans) // 2)) == 1_000_000
    assert partition_spans(scopes, 1000, UNLIMITED) == []
    assert sum(points for _, _, points in partition_metrics(lonely, 1000, len(lonely) // 2)) == 200_000
    assert sum(leaves for _, _, leaves in partition_logs(holes, 1000, len(holes) - 1)) == 300_000
    assert time.thread_time() - begin < 2
    assert peak_kib() - before < 120 * 1024


def test_truncated_and_damaged_requests_are_refused_or_split() -> None:
    rnd = random.Random(4)
    traces = ExportTraceServiceRequest()
    for _ in range(2):
        one = traces.resource_spans.add(schema_url="url")
        one.resource.attributes.append(attribute("service.name", "cart"))
        for _ in range(2):
            inner = one.scope_spans.add(schema_url="url")
            for _ in range(3):
                inner.spans.add(trace_id=rnd.randbytes(16), name="n", start_time_unix_nano=1, flags=1)
    whole = traces.SerializeToString()
    outcomes = {"refused": 0, "split": 0}
    for cut in range(len(whole)):
        damaged = bytearray(whole)
        damaged[cut] = rnd.randrange(256)
        for payload in (whole[:cut], bytes(damaged)):
            for split in (partition_spans, partition_logs, partition_metrics):
                try:
                    split(payload, 3, 200)
                    outcomes["split"] += 1
                except Malformed:
                    outcomes["refused"] += 1
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x11" + bytes(16),  # longer than its span
        b"\x0a\x10" + bytes(15),
        b"\x39" + bytes(7),
        b"\x02\x00",  # field 0
        b"\x01" + bytes(8),
        b"\x0b\x0a\x00",  # a group without an end
        b"\x0f",  # wire type 7
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x30" + b"\xff" * 11,
    ],
)
def test_a_malformed_span_is_refused_wherever_it_stands(body: bytes) -> None:
    bad, good = field(b"\x12", body), span(b"a" * 16, field(b"\x2a", bytes(300)))
    for leaves in ((bad, good), (good, bad), (good, bad, good), (bad, good, good), (good, good, bad), (bad, bad)):
        for url in (b"", TAIL):
            with pytest.raises(Malformed):
                partition_spans(request(scope(*leaves, url)), 4, UNLIMITED)


def test_a_malformed_resource_is_refused_where_it_decides() -> None:
    payload = request(scope(field(b"\x12", b"")), header=field(b"\x0a", b"\x0a\x05abc"))
    with pytest.raises(Malformed):
        partition_metrics(payload, 4, UNLIMITED)
    assert partition_spans(payload, 4, UNLIMITED) == [(0, payload, 1)]


def test_only_bytes_are_taken() -> None:
    with pytest.raises(TypeError):
        partition_spans(bytearray(b""), 1, 1)  # type: ignore[arg-type]  # the mistake under test
