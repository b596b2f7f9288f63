"""Trace context out of attributes, and request IDs from spans to logs and exemplars."""

import logging

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import Ack, Batch, BuildContext, Signal
from processors.correlation import Correlation
from processors.correlation.trace_context import TraceContext, from_traceparent

TRACE, SPAN = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"), bytes.fromhex("00f067aa0ba902b7")
PARENT = f"00-{TRACE.hex()}-{SPAN.hex()}-01"


def correlation(**options):
    return Correlation(
        Correlation.Config.model_validate(options), BuildContext("correlation", logging.getLogger("test"))
    )


def run(it, request, signal):
    """The request that leaves, and whether it is the very same bytes."""
    payload = request.SerializeToString()
    (out,) = it.process(Batch(payload, Ack.ignore(), signal=signal))
    return type(request).FromString(out.to_bytes()), out.to_bytes() is payload


def log(text="hello", *, trace=b"", span=b"", **attributes):
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace, span_id=span, time_unix_nano=1)
    )
    record.body.string_value = text
    for key, value in attributes.items():
        record.attributes.add(key=key).value.string_value = value
    return request, record


def traces(**attributes):
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add().scope_spans.add().spans.add(trace_id=TRACE, span_id=SPAN, name="inference.request")
    )
    for key, value in attributes.items():
        span.attributes.add(key=key.replace("_", ".")).value.string_value = value
    return request


@pytest.mark.parametrize(
    ("text", "context"),
    [
        (PARENT, TraceContext(TRACE, SPAN, 1)),
        (PARENT[:-2] + "00", TraceContext(TRACE, SPAN, 0)),
        ("cc" + PARENT[2:], TraceContext(TRACE, SPAN, 1)),
        ("cc" + PARENT[2:] + "-what-may-come", TraceContext(TRACE, SPAN, 1)),
        (PARENT + "-more", None),
        (PARENT + "0", None),
        ("ff" + PARENT[2:], None),
        (PARENT.upper(), None),
        (PARENT[:-3], None),
        (PARENT.replace(TRACE.hex(), "0" * 32), None),
        (PARENT.replace(SPAN.hex(), "0" * 16), None),
        ("", None),
        ("\u20ac", None),
    ],
)
def test_traceparents_are_read_as_the_recommendation_says(text, context):
    assert from_traceparent(text.encode()) == context


def test_a_record_without_a_trace_id_gets_that_of_its_traceparent():
    request, record = log(traceparent=PARENT)
    out, _ = run(correlation(), request, Signal.LOGS)
    record.trace_id, record.span_id, record.flags = TRACE, SPAN, 1
    assert out == request


@pytest.mark.parametrize("span", [SPAN.hex(), "", "xyz", "0" * 16])
def test_ids_in_hex_will_do(span):
    request, record = log(trace_id=TRACE.hex().upper(), span_id=span)
    out, _ = run(correlation(), request, Signal.LOGS)
    record.trace_id, record.span_id = TRACE, SPAN if span == SPAN.hex() else b""
    assert out == request


def test_what_has_a_trace_or_says_nothing_of_one_passes_as_it_is():
    for request, _ in (
        log(trace=b"\x07" * 16, traceparent=PARENT),
        log(traceparent="nonsense"),
        log(trace_id="nonsense"),
        log(trace_id="0" * 32),
        log(other=PARENT),
        log(),
    ):
        assert run(correlation(), request, Signal.LOGS) == (request, True)


def test_request_ids_go_from_spans_to_logs_that_lack_them():
    it = correlation()
    assert run(it, traces(butterfly_request_id="req-7"), Signal.TRACES)[1]
    request, record = log(trace=TRACE)
    out, _ = run(it, request, Signal.LOGS)
    record.attributes.add(key="request_id").value.string_value = "req-7"
    assert out == request
    for untouched, _ in (log(trace=TRACE, request_id="its-own"), log(trace=b"\x07" * 16), log()):
        assert run(it, untouched, Signal.LOGS)[1]


def test_a_record_can_get_both_at_once():
    it = correlation()
    run(it, traces(request_id="req-7"), Signal.TRACES)
    request, record = log(traceparent=PARENT)
    out, _ = run(it, request, Signal.LOGS)
    record.trace_id, record.span_id, record.flags = TRACE, SPAN, 1
    record.attributes.add(key="request_id").value.string_value = "req-7"
    assert out == request


@pytest.mark.parametrize("kind", ["gauge", "sum", "histogram", "exponential_histogram"])
def test_request_ids_go_to_exemplars_that_lack_them(kind):
    it = correlation()
    run(it, traces(butterfly_request_id="req-7"), Signal.TRACES)
    request = ExportMetricsServiceRequest()
    point = getattr(request.resource_metrics.add().scope_metrics.add().metrics.add(name="m"), kind).data_points.add(
        time_unix_nano=1
    )
    point.attributes.add(key="pad").value.string_value = "p" * 200
    first = point.exemplars.add(trace_id=TRACE, as_double=1)
    first.filtered_attributes.add(key="pad").value.string_value = "p" * 120
    point.exemplars.add(trace_id=TRACE).filtered_attributes.add(key="request_id").value.string_value = "its-own"
    point.exemplars.add(trace_id=b"\x07" * 16)
    point.exemplars.add(as_double=2)
    out, _ = run(it, request, Signal.METRICS)
    first.filtered_attributes.add(key="request_id").value.string_value = "req-7"
    assert out == request


def test_an_exemplar_whose_tag_is_longer_than_it_need_be_stays_one():
    it = correlation()
    run(it, traces(butterfly_request_id="req-7"), Signal.TRACES)
    request = ExportMetricsServiceRequest()
    point = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add(as_int=1)
    exemplar = point.exemplars.add(trace_id=TRACE)
    body = exemplar.SerializeToString()
    field = b"\xaa\x00" + bytes((len(body),)) + body  # the number 5 as a varint of two bytes
    for tag in (b"\x0a", b"\x2a", b"\x12", b"\x12", b"\x0a"):  # a point, its gauge, metric, scope and resource
        field = tag + bytes((len(field),)) + field
    (out,) = it.process(Batch(field, Ack.ignore(), signal=Signal.METRICS))
    exemplar.filtered_attributes.add(key="request_id").value.string_value = "req-7"
    found = ExportMetricsServiceRequest.FromString(out.to_bytes()).resource_metrics[0].scope_metrics[0].metrics[0]
    assert list(found.gauge.data_points[0].exemplars) == [exemplar]


def test_records_that_were_removed_before_stay_removed():
    request, _ = log(traceparent=PARENT)
    request.resource_logs[0].scope_logs[0].log_records.add(trace_id=b"\x07" * 16)
    batch = Batch(request.SerializeToString(), Ack.ignore(), signal=Signal.LOGS).select([False, True])
    (out,) = correlation().process(batch)
    (record,) = ExportLogsServiceRequest.FromString(out.to_bytes()).resource_logs[0].scope_logs[0].log_records
    assert record.trace_id == b"\x07" * 16


def test_names_can_be_chosen_and_too_long_an_id_is_none():
    it = correlation(request_id={"span_attributes": ["rid"], "attribute": "req"}, trace_context_attributes=["tp"])
    run(it, traces(rid="x" * 300), Signal.TRACES)
    run(it, traces(butterfly_request_id="req-7"), Signal.TRACES)
    request, record = log(trace=TRACE)
    assert run(it, request, Signal.LOGS)[1]
    run(it, traces(rid="r1"), Signal.TRACES)
    out, _ = run(it, request, Signal.LOGS)
    record.attributes.add(key="req").value.string_value = "r1"
    assert out == request
