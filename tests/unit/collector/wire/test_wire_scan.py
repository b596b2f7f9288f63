"""Indexing and validation of OTLP trace requests, case by case. The sweeping comparison is in tests/property."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.wire.scan import BAD_SPAN_ID, BAD_TRACE_ID, Malformed, SpanIndex, scan, validate
from collector.wire.schema import checked_fields
from tests.fuzz.mutate import varint
from tests.fuzz.oracle import check, parse

COLUMNS = {
    "trace_hi": np.uint64, "trace_lo": np.uint64, "span_id": np.uint64, "parent_id": np.uint64, "start": np.uint64,
    "end": np.uint64, "offset": np.uint32, "length": np.uint32, "resource": np.uint32, "scope": np.uint32,
    "kind": np.int32, "status": np.int32, "flags": np.uint32, "defects": np.uint8, "matches": np.uint64,
}  # fmt: skip


def field(tag: int, body: bytes) -> bytes:
    return varint(tag) + varint(len(body)) + body


def request(*bodies: bytes) -> bytes:
    """One ResourceSpans with one ScopeSpans with spans of these bodies."""
    return field(0x0A, field(0x12, b"".join(field(0x12, body) for body in bodies)))


def attribute(value: bytes) -> bytes:
    """A request whose one span has an attribute with this AnyValue."""
    return request(field(0x4A, field(0x0A, b"k") + field(0x12, value)))


def nested(levels: int) -> bytes:
    """An AnyValue that holds `levels` of them inside one another, itself included."""
    value = field(0x0A, b"x")
    for _ in range(levels - 1):
        value = field(0x2A, field(0x0A, value))
    return value


def one(payload: bytes) -> SpanIndex:
    index = validate(payload)
    assert index.count == 1
    return index


def test_an_empty_request_is_one() -> None:
    for index in (scan(b""), validate(b"")):
        assert index.count == 0
        assert all(len(getattr(index, name)) == 0 for name in COLUMNS)


def test_columns_have_their_types_and_are_read_only() -> None:
    index = validate(request(b"", b""))
    for name, dtype in COLUMNS.items():
        column = getattr(index, name)
        assert column.dtype == dtype
        assert column.shape == (2,)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


def test_columns_outlive_their_index() -> None:
    start = validate(request(Span(start_time_unix_nano=7).SerializeToString())).start
    assert start.tolist() == [7]


def test_every_column_of_a_full_span() -> None:
    span = Span(
        trace_id=bytes(range(16)), span_id=bytes(range(8)), parent_span_id=b"\xff" * 8, name="n", kind=3, flags=0x101,
        start_time_unix_nano=2**64 - 1, end_time_unix_nano=5, status={"code": 2, "message": "m"},
    )  # fmt: skip
    payload = request(b"", span.SerializeToString())
    index = validate(payload)
    assert index.trace_hi[1] == 0x0001020304050607
    assert index.trace_lo[1] == 0x08090A0B0C0D0E0F
    assert index.span_id[1] == 0x0001020304050607
    assert index.parent_id[1] == 2**64 - 1
    assert (index.start[1], index.end[1]) == (2**64 - 1, 5)
    assert (index.kind[1], index.status[1], index.flags[1]) == (3, 2, 0x101)
    assert index.defects.tolist() == [BAD_TRACE_ID | BAD_SPAN_ID, 0]
    begin = int(index.offset[1])
    assert payload[begin : begin + int(index.length[1])] == span.SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 32])
def test_ids_of_a_wrong_length_or_zero_are_defects(size: int) -> None:
    index = one(request(field(0x0A, b"\x01" * size) + field(0x12, b"\x01" * size)))
    assert bool(index.defects[0] & BAD_TRACE_ID) == (size != 16)
    assert bool(index.defects[0] & BAD_SPAN_ID) == (size != 8)
    assert bool(index.trace_hi[0]) == (size == 16)
    assert one(request(field(0x0A, bytes(16)) + field(0x12, bytes(8)))).defects[0] == BAD_TRACE_ID | BAD_SPAN_ID


def test_the_last_of_repeated_scalars_counts_and_repeated_status_merges() -> None:
    body = b"\x30\x01\x30\x02" + field(0x7A, b"\x18\x02") + field(0x7A, field(0x12, b"m"))
    index = one(request(field(0x0A, b"\1" * 16) + body + field(0x0A, b"\2" * 16) + b"\x85\x01abcd\x85\x01\5\0\0\0"))
    assert (index.kind[0], index.status[0], index.flags[0]) == (2, 2, 5)
    assert index.trace_lo[0] == 0x0202020202020202


def test_enums_keep_their_low_32_bits_as_protobuf_does() -> None:
    index = one(request(b"\x30" + varint(2**40 + 7) + field(0x7A, b"\x18" + varint(2**64 - 1))))
    assert (index.kind[0], index.status[0]) == (7, -1)


def test_resources_and_scopes_are_numbered_over_the_whole_payload() -> None:
    message = ExportTraceServiceRequest()
    for scopes in ([1, 0], [], [2, 1]):
        resource = message.resource_spans.add()
        for spans in scopes:
            resource.scope_spans.add().spans.extend(Span() for _ in range(spans))
    index = validate(message.SerializeToString())
    assert index.resource.tolist() == [0, 2, 2, 2]
    assert index.scope.tolist() == [0, 2, 2, 3]


def test_concatenated_requests_are_one() -> None:
    payload = request(b"") + request(b"", b"")
    assert validate(payload).resource.tolist() == [0, 1, 1]


LEGAL = {
    "unknown varint": b"\x50\x01",
    "unknown group": b"\x53\x08\x01\x54",
    "nested groups": b"\x53\x5b\x5c\x54",
    "field 0 inside of a group": b"\x53\x00\x00\x54",
    "known field as a varint": b"\x08\x01",
    "known field as a group": b"\x0b\x0c",
    "long tag": b"\xd0\x80\x80\x80\x00\x01",
    "long length": b"\x52\x80\x80\x80\x80\x00",
    "ten-byte varint": b"\x50" + b"\xff" * 9 + b"\x7f",
    "largest field number": b"\xf8\xff\xff\xff\x0f\x00",
}
ILLEGAL = {
    "nothing after a tag": b"\x0a",
    "no value": b"\x50",
    "field number 0": b"\x00\x00",
    "field number 0 with a length": b"\x02\x00",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x57",
    "wire type 6 inside of a group": b"\x53\x56\x54",
    "end of no group": b"\x54",
    "a group without an end": b"\x53",
    "a group with another's end": b"\x53\x5c",
    "tag of six bytes": b"\xd0\x80\x80\x80\x80\x00\x01",
    "field number 2**29": b"\xf8\xff\xff\xff\x1f\x00",
    "varint of eleven bytes": b"\x50" + b"\xff" * 10 + b"\x01",
    "length of six bytes": b"\x52\x80\x80\x80\x80\x80\x00",
    "length past the end": b"\x0a\x05abcd",
    "length 2**64-1": b"\x0a" + b"\xff" * 9 + b"\x01",
    "short fixed64": b"\x51\0\0\0\0\0\0\0",
    "short fixed32": b"\x55\0\0\0",
}
PLACES = {
    "request": lambda part: part,
    "resource spans": lambda part: field(0x0A, part),
    "resource": lambda part: field(0x0A, field(0x0A, part)),
    "scope spans": lambda part: field(0x0A, field(0x12, part)),
    "scope": lambda part: field(0x0A, field(0x12, field(0x0A, part))),
    "span": request,
    "event": lambda part: request(field(0x5A, part)),
    "link": lambda part: request(field(0x6A, part)),
    "status": lambda part: request(field(0x7A, part)),
    "attribute": lambda part: request(field(0x4A, part)),
    "value": attribute,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", LEGAL)
def test_unusual_but_legal_bytes_pass_everywhere(case: str, place: str) -> None:
    assert check(PLACES[place](LEGAL[case]))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", ILLEGAL)
def test_broken_bytes_are_refused_everywhere(case: str, place: str) -> None:
    payload = PLACES[place](ILLEGAL[case])
    assert parse(payload) is None
    with pytest.raises(Malformed):
        validate(payload)


BAD_TEXTS = [b"\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xc3\x28", b"\xed\xa0\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80",
             b"\xf0\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98"]  # fmt: skip
GOOD_TEXTS = [b"", b"a", "é".encode(), "\u0800\uffff".encode(), "\U0010ffff".encode(), b"\0", "\ud7ff\ue000".encode()]


@pytest.mark.parametrize("padding", [0, 1, 3, 4, 7, 8, 15, 16, 31, 130])
@pytest.mark.parametrize("behind", [b"", b"tail of text beyond"])
def test_utf8_at_every_alignment(padding: int, behind: bytes) -> None:
    for texts, good in ((BAD_TEXTS, False), (GOOD_TEXTS, True)):
        for text in texts:
            padded = b"x" * padding + text + behind
            for payload in (attribute(field(0x0A, padded)), request(field(0x2A, padded))):
                assert check(payload) == good


def test_bytes_values_may_hold_anything() -> None:
    assert check(attribute(field(0x3A, b"\xff\xfe")))


def messages(descriptor: Descriptor, seen: dict[str, Descriptor]) -> dict[str, Descriptor]:
    if descriptor.full_name not in seen:
        seen[descriptor.full_name] = descriptor
        for part in descriptor.fields:
            if part.message_type is not None:
                messages(part.message_type, seen)
    return seen


def all_messages() -> dict[str, Descriptor]:
    seen: dict[str, Descriptor] = {}
    for request in (ExportTraceServiceRequest, ExportMetricsServiceRequest, ExportLogsServiceRequest):
        messages(request.DESCRIPTOR, seen)
    return seen


def test_every_string_message_and_packed_field_of_the_installed_descriptors_is_looked_into() -> None:
    wide = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64}
    varints = {FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT32}
    expected: dict[str, dict[int, str]] = {}
    for name, descriptor in all_messages().items():
        expected[name] = {}
        for part in descriptor.fields:
            if part.type == FieldDescriptor.TYPE_STRING:
                expected[name][part.number] = "string"
            elif part.message_type is not None:
                expected[name][part.number] = part.message_type.full_name
            elif part.is_packed:
                assert part.type in wide | varints
                expected[name][part.number] = "packed words" if part.type in wide else "packed varints"
    assert checked_fields() == expected


def test_the_descriptors_hold_no_groups_or_maps() -> None:
    for descriptor in all_messages().values():
        for part in descriptor.fields:
            assert part.type != FieldDescriptor.TYPE_GROUP
            assert part.message_type is None or not part.message_type.GetOptions().map_entry


def test_values_nest_as_deep_as_allowed_and_no_deeper() -> None:
    assert validate(attribute(nested(32))).count == 1
    with pytest.raises(Malformed, match="nested"):
        validate(attribute(nested(33)))
    assert validate(attribute(nested(3)), max_depth=3).count == 1
    with pytest.raises(Malformed, match="nested"):
        validate(attribute(nested(4)), max_depth=3)
    with pytest.raises(Malformed, match="nested"):
        validate(attribute(b""), max_depth=0)


@pytest.mark.parametrize("levels", [47, 48, 49, 5000])
def test_the_outer_limit_of_nesting_is_protobufs(levels: int) -> None:
    payload = attribute(nested(levels))
    if parse(payload) is None:
        with pytest.raises(Malformed):
            validate(payload, max_depth=10_000)
    else:
        assert validate(payload, max_depth=10_000).count == 1
    assert scan(payload).count == 1


@pytest.mark.parametrize("place", PLACES)
def test_groups_nest_as_deep_as_in_protobuf(place: str) -> None:
    verdicts = [check(PLACES[place](b"\x53" * depth + b"\x54" * depth)) for depth in range(90, 103)]
    assert verdicts[0]
    assert not verdicts[-1]


def test_too_many_spans_are_refused_before_anything_is_allocated() -> None:
    assert validate(request(b"", b""), max_spans=2).count == 2
    with pytest.raises(Malformed, match="too many items"):
        validate(request(b"", b"", b""), max_spans=2)
    payload = field(0x0A, field(0x12, b"\x12\x00" * 1_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="too many items"):
            validate(payload, max_spans=999_999)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert validate(payload, max_spans=1_000_000).count == 1_000_000


def test_a_request_of_64_mib() -> None:
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n" * 1000).SerializeToString()
    payload = request(*[span] * (64 * 2**20 // len(span)))
    index = validate(payload)
    assert len(payload) > 63 * 2**20
    assert np.all(index.length == len(span))
    last = int(index.offset[-1])
    assert payload[last:] == span
    assert np.array_equal(scan(payload).offset, index.offset)


def test_every_cut_of_a_request_is_judged_as_protobuf_does() -> None:
    span = Span(
        trace_id=b"t" * 16, span_id=b"s" * 8, parent_span_id=b"p" * 8, name="GET /", kind=2, flags=1,
        start_time_unix_nano=1, end_time_unix_nano=2, trace_state="a=b", status={"code": 2},
        attributes=[{"key": "k", "value": {"int_value": -1}}],
        events=[{"name": "e"}], links=[{"trace_id": b"x"}],
    )  # fmt: skip
    payload = request(span.SerializeToString())
    body = span.SerializeToString()
    for end in range(len(payload) + 1):
        check(payload[:end])
    for end in range(len(body) + 1):
        check(request(body[:end]))


def test_no_payload_in_the_message_of_the_error() -> None:
    with pytest.raises(Malformed) as caught:
        validate(request(field(0x2A, b"secret\xff")))
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("payload", [None, "text", bytearray(b""), memoryview(b"")])
def test_only_bytes_are_taken(payload: object) -> None:
    for function in (scan, validate):
        with pytest.raises(TypeError):
            function(payload)


def test_threads_scan_at_once() -> None:
    payload = request(*[Span(start_time_unix_nano=n, name="x" * 50).SerializeToString() for n in range(3000)])
    results: list[bool] = []

    def work() -> None:
        results.extend(validate(payload).start.tolist() == list(range(3000)) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80
