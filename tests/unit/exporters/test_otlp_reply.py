import os
from datetime import UTC, datetime

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.otlp.reply import rejected_items, retry_after_ns, retry_info_ns


def status_with(*details):
    status = Status(code=8, message="busy")
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status.SerializeToString()


@given(st.integers(0, 2**63 - 1), st.text(max_size=50))
def test_partial_success_is_read_as_protobuf_reads_it(rejected, message):
    reply = ExportTraceServiceResponse()
    reply.partial_success.rejected_spans = rejected
    reply.partial_success.error_message = message
    assert rejected_items(reply.SerializeToString()) == rejected


def test_partial_success_of_another_signal_has_the_same_place():
    reply = ExportLogsServiceResponse()
    reply.partial_success.rejected_log_records = 7
    assert rejected_items(reply.SerializeToString()) == 7


@pytest.mark.parametrize(
    "reply", [b"", b"\x0a\x00", b"\xff" * 50, b"\x0a\x05\x08", b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x01"]
)
def test_success_negative_counts_and_nonsense_reject_nothing(reply):
    assert rejected_items(reply) == 0


@given(st.integers(0, 3600), st.integers(0, 999_999_999))
def test_retry_info_is_found_among_the_details(seconds, nanos):
    info = RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, nanos
    status = status_with(ErrorInfo(reason="QUOTA", domain="x"), info)
    assert retry_info_ns(status) == seconds * 10**9 + nanos


def test_no_retry_info_is_not_a_zero_wait():
    assert retry_info_ns(status_with(ErrorInfo(reason="QUOTA"))) is None
    assert retry_info_ns(status_with(RetryInfo())) == 0


def test_an_absurd_wait_is_cut():
    info = RetryInfo()
    info.retry_delay.seconds = 10**12
    assert retry_info_ns(status_with(info)) == 24 * 3600 * 10**9


def test_a_negative_wait_is_none_at_all():
    info = RetryInfo()
    info.retry_delay.seconds = -5
    assert retry_info_ns(status_with(info)) == 0


@given(st.binary(max_size=200))
def test_strange_bytes_never_raise(noise):
    assert rejected_items(noise) >= 0
    assert (retry_info_ns(noise) or 0) >= 0


@given(st.integers(0, 60), st.binary(min_size=1, max_size=8))
def test_broken_details_never_raise(at, noise):
    info = RetryInfo()
    info.retry_delay.seconds = 3
    status = status_with(info)
    broken = status[: at % len(status)] + noise + status[at % len(status) :]
    assert (retry_info_ns(broken) or 0) >= 0


def test_only_the_beginning_of_a_huge_reply_is_looked_at():
    assert rejected_items(b"\x12\x00" * (1 << 19) + b"\x0a\x02\x08\x05") == 0
    assert rejected_items(os.urandom(0) + b"\x0a\x02\x08\x05" + b"\x12\x00" * (1 << 19)) == 5


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("0", 0),
        (" 7 ", 7 * 10**9),
        ("999999999", 24 * 3600 * 10**9),
        ("Tue, 24 Nov 2026 10:00:30 GMT", 30 * 10**9),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0),
        ("Tue, 24 Nov 2099 09:00:00 GMT", 24 * 3600 * 10**9),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_retry_after(header, wait):
    assert retry_after_ns(header, datetime(2026, 11, 24, 10, tzinfo=UTC)) == wait
