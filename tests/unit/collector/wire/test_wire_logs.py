"""`scan_logs` and `validate_logs` by example; tests/property/test_points_and_logs_against_protobuf.py has the rest."""

from __future__ import annotations

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.wire import LogIndex, Malformed, replace_logs, scan_logs, select, validate_logs
from collector.wire.scan import BAD_SPAN_ID, BAD_TRACE_ID
from tests.fuzz.mutate import varint
from tests.fuzz.signals import check

COLUMNS = {
    "time": np.uint64, "observed": np.uint64, "trace_hi": np.uint64, "trace_lo": np.uint64, "span_id": np.uint64,
    "offset": np.uint32, "length": np.uint32, "severity": np.int32, "flags": np.uint32, "resource": np.uint32,
    "scope": np.uint32, "defects": np.uint8,
}  # fmt: skip


def field(tag: int, body: bytes) -> bytes:
    return varint(tag) + varint(len(body)) + body


def request(*records: bytes) -> bytes:
    return field(0x0A, field(0x12, b"".join(field(0x12, record) for record in records)))


def index_of(**fields: object) -> LogIndex:
    made = ExportLogsServiceRequest()
    made.resource_logs.add().scope_logs.add().log_records.add(**fields)
    return validate_logs(made.SerializeToString())


def test_columns_are_read_only_and_of_their_types() -> None:
    index = index_of(
        time_unix_nano=1, observed_time_unix_nano=2, severity_number=9, trace_id=bytes(range(1, 17)),
        span_id=bytes(range(1, 9)), flags=1,
    )  # fmt: skip
    assert repr(index) == "<LogIndex rows=1>"
    assert (index.time[0], index.observed[0], index.severity[0], index.flags[0]) == (1, 2, 9, 1)
    assert (index.trace_hi[0], index.trace_lo[0]) == (0x0102030405060708, 0x090A0B0C0D0E0F10)
    assert index.span_id[0] == 0x0102030405060708
    for name, kind in COLUMNS.items():
        column = getattr(index, name)
        assert column.dtype == kind
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


@pytest.mark.parametrize(
    ("trace_id", "span_id", "defects"),
    [
        (b"", b"", 0),
        (bytes(16), bytes(8), 0),
        (bytes(5), bytes(20), 0),
        (b"a" * 15, b"", BAD_TRACE_ID),
        (b"a" * 17, b"b" * 8, BAD_TRACE_ID),
        (b"a" * 16, b"b" * 9, BAD_SPAN_ID),
        (b"a", b"b", BAD_TRACE_ID | BAD_SPAN_ID),
    ],
)
def test_a_log_needs_no_ids_but_right_ones(trace_id: bytes, span_id: bytes, defects: int) -> None:
    index = index_of(trace_id=trace_id, span_id=span_id)
    assert index.defects.tolist() == [defects]
    assert bool(index.trace_hi[0]) == (len(trace_id) == 16 and any(trace_id))
    assert bool(index.span_id[0]) == (len(span_id) == 8 and any(span_id))


def test_of_a_repeated_field_the_last_counts() -> None:
    ids = field(0x4A, b"a" * 16) + field(0x4A, b"b" * 16) + field(0x52, b"c" * 8) + field(0x52, b"")
    payload = request(b"\x10\x05\x10\x11" + ids)
    index = validate_logs(payload)
    assert check("logs", payload)
    assert (index.severity[0], index.trace_hi[0], index.span_id[0]) == (17, int.from_bytes(b"b" * 8, "big"), 0)


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (field(0x1A, b"\xff"), False),                       # severity_text
        (field(0x62, b"\xff"), False),                       # event_name
        (field(0x2A, field(0x0A, b"\xff")), False),          # body
        (field(0x2A, field(0x3A, b"\xff")), True),           # of bytes
        (field(0x32, field(0x0A, b"\xff")), False),          # an attribute's key
        (field(0x4A, b"\xff"), True),
        (b"\x45\x01\x00\x00", False),                        # flags cut short
        (b"\x45\x01\x00\x00\x00" + field(0x4A, bytes(16)) + field(0x52, bytes(8)) + b"\x59", False),
        (b"\x45\x01\x00\x00\x00" + field(0x4A, bytes(16)) + field(0x52, bytes(8)), True),
        (b"\x45\x01\x00\x00\x00" + field(0x4A, bytes(16)) + b"\x52\x08" + bytes(7), False),
    ],
)  # fmt: skip
def test_what_is_in_a_record_is_looked_into(body: bytes, good: bool) -> None:
    assert check("logs", request(body)) == good


def test_bodies_nest_as_deep_as_allowed() -> None:
    value = b"\x10\x01"
    for _ in range(32):
        value = field(0x2A, field(0x0A, value))
    payload = request(field(0x2A, value))
    with pytest.raises(Malformed, match="nested"):
        validate_logs(payload)
    assert validate_logs(payload, max_depth=33).count == 1


def test_too_many_records_are_refused() -> None:
    payload = request(*[b""] * 1000)
    with pytest.raises(Malformed, match="too many items"):
        validate_logs(payload, max_records=999)
    assert validate_logs(payload, max_records=1000).count == 1000


def test_records_are_selected_and_replaced() -> None:
    payload = request(b"\x10\x01", b"\x10\x02", b"\x10\x03")
    index = scan_logs(payload)
    mask = np.array([True, False, True])
    assert select(payload, index, mask) == request(b"\x10\x01", b"\x10\x03")
    assert replace_logs(payload, index, {2: b"\x10\x09"}) == request(b"\x10\x01", b"\x10\x02", b"\x10\x09")
    assert replace_logs(payload, index, {0: b"", 1: b"\x10\x07"}, mask) == request(b"", b"\x10\x03")
    with pytest.raises(ValueError, match="row"):
        replace_logs(payload, index, {3: b""})
