import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.batch import ANONYMOUS, Context, Signal
from collector.connectors.kafka.records import UnreadableError, admit, headers


def spans(count):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(count):
        scope.spans.add(trace_id=bytes([number + 1]) * 16, span_id=bytes([number + 1]) * 8, name="s")
    return request.SerializeToString()


def metrics(count):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for number in range(count):
        metric.gauge.data_points.add(as_int=number)
    return request.SerializeToString()


def logs(count):
    request = ExportLogsServiceRequest()
    for number in range(count):
        request.resource_logs.add().scope_logs.add().log_records.add(severity_text=f"{number}")
    return request.SerializeToString()


REQUEST = {Signal.TRACES: spans, Signal.METRICS: metrics, Signal.LOGS: logs}
EVERY = pytest.mark.parametrize("signal", list(Signal))


def record(value, given=()):
    return SimpleNamespace(value=value, headers=tuple(given))


def refusal(value, signal, given=()):
    with pytest.raises(UnreadableError) as caught:
        admit(record(value, given), signal)
    return str(caught.value)


@EVERY
def test_our_own_records_are_read_back_with_their_tenant(signal):
    context = Context("acme ünïcode")
    given = headers(signal, context)
    assert admit(record(REQUEST[signal](3), given), signal) == (context, 3)


@EVERY
def test_nobodys_records_name_no_tenant(signal):
    assert headers(signal, ANONYMOUS) == [("butterfly-signal", signal.value.encode())]


@EVERY
def test_a_record_without_headers_is_of_the_topics_signal_and_of_nobody(signal):
    assert admit(record(REQUEST[signal](2)), signal) == (ANONYMOUS, 2)


@EVERY
def test_an_empty_request_is_no_damage(signal):
    assert admit(record(b""), signal) == (ANONYMOUS, 0)


@EVERY
def test_other_headers_and_empty_tenants_say_nothing(signal):
    given = [("traceparent", b"\xff"), ("butterfly-tenant", b""), ("butterfly-tenant", None), ("x", None)]
    assert admit(record(b"", given), signal)[0] == ANONYMOUS


@EVERY
def test_a_record_of_another_signal_is_refused(signal):
    for other in set(Signal) - {signal}:
        assert refusal(b"", signal, headers(other, ANONYMOUS)) == "wrong_signal"


@pytest.mark.parametrize("value", [None, b"", b"TRACES", b"\xff"])
def test_a_signal_header_that_names_none_is_refused(value):
    assert refusal(b"", Signal.TRACES, [("butterfly-signal", value)]) == "wrong_signal"


def test_a_tenant_that_is_no_text_is_refused():
    assert refusal(b"", Signal.TRACES, [("butterfly-tenant", b"\xff\xfe")]) == "bad_tenant"


@EVERY
def test_a_tombstone_is_refused(signal):
    assert refusal(None, signal) == "empty"


@EVERY
@pytest.mark.parametrize("garbage", [b"\xff", b"\x0a\xff", b"hello, world", b"\x0a\x05\x0a", b"\x00" * 40])
def test_garbage_is_refused(signal, garbage):
    assert refusal(garbage, signal) == "malformed"


def test_text_that_is_no_utf8_is_refused():
    request = spans(1).replace(b"\x2a\x01s", b"\x2a\x01\xff")
    assert refusal(request, Signal.TRACES) == "malformed"


given_headers = st.lists(
    st.tuples(
        st.sampled_from(["butterfly-signal", "butterfly-tenant", "other"]),
        st.one_of(st.none(), st.binary(max_size=12), st.sampled_from([b"traces", b"metrics", b"logs"])),
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(Signal)), st.one_of(st.none(), st.binary(max_size=200)), given_headers)
def test_whatever_is_written_there_is_taken_or_refused(signal, value, found):
    reason = None
    try:
        context, count = admit(record(value, found), signal)
    except UnreadableError as error:
        reason = str(error)
    if reason is None:
        assert isinstance(context, Context)
        assert count >= 0
    else:
        assert reason in {"empty", "malformed", "wrong_signal", "bad_tenant"}


@EVERY
def test_damaged_requests_are_taken_or_refused(signal):
    rng = random.Random(1)
    good = REQUEST[signal](5)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        del damaged[rng.randrange(1, len(damaged) + 1) :]
        try:
            assert admit(record(bytes(damaged)), signal)[1] <= len(damaged)
        except UnreadableError:
            refused += 1
    assert refused > 500
