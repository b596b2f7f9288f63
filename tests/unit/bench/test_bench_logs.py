"""The generated logs: shaped as Butterfly's nodes write them, tied to the spans of the same run, the same by seed."""

import datetime as dt
import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.catalogue import SCOPES
from bench.generator.clock import Clock
from bench.generator.log_records import SEVERITIES, LogShape
from bench.generator.logs import UID_KEY
from bench.generator.traces import BYZANTINE, ERROR, Mix
from bench.generator.traffic import Shape, Traffic
from bench.log_truth import uid
from bench.otlp_items import records

SHAPE = Shape(
    seed=13, senders=4, batch=50, spans=4_000, mix=Mix(byzantine=0.05), logs=LogShape(records=3_000, batch=60)
)
BEGAN = 1_700_000_000_123_456_789
CYCLE = 2


@pytest.fixture(scope="module")
def clock():
    found = Clock(BEGAN)
    for cycle in range(3):
        found.start(cycle, BEGAN + cycle * 400_000_000, 400_000_000)
    return found


@pytest.fixture(scope="module")
def traffic():
    return Traffic(SHAPE)


@pytest.fixture(scope="module")
def messages(traffic, clock):
    return [ExportLogsServiceRequest.FromString(request.encode(CYCLE, clock)) for request in traffic.logs.requests]


@pytest.fixture(scope="module")
def items(messages):
    return [item for message in messages for item in records(message)]


@pytest.fixture(scope="module")
def spans(traffic, clock):
    """Spans of the same cycle by (trace id, span id), with the node that sent them."""
    found = {}
    ends = clock.ends(CYCLE, traffic.position)
    for request in traffic.requests:
        message = ExportTraceServiceRequest.FromString(request.encode(CYCLE, ends))
        for scope in message.resource_spans[0].scope_spans:
            for span in scope.spans:
                found[span.trace_id.hex(), span.span_id.hex()] = f"node-{request.sender:03d}", span
    return found


def ids_of(item):
    """The trace and span that a record names, wherever it does."""
    if "traceparent" in item.attributes:
        version, trace, span, flags = item.attributes["traceparent"].split("-")
        assert (version, flags) == ("00", "01")
        return trace, span
    return item.trace_id, item.span_id


def structure(item):
    """The record's fields as a map: of a JSON body, of a map, or None of a plain one."""
    if isinstance(item.body, dict):
        return item.body
    return json.loads(item.body) if item.body.startswith("{") else None


def test_records_look_real(messages, items):
    assert len(items) == 3_000
    size = sum(message.ByteSize() for message in messages) / len(items)
    assert 600 < size < 800
    forms = Counter("plain" if structure(item) is None else type(item.body).__name__ for item in items)
    assert 0.25 < forms["plain"] / len(items) < 0.35
    assert 0.15 < forms["dict"] / len(items) < 0.25
    levels = Counter(item.severity_text for item in items)
    assert set(levels) == set(SEVERITIES)
    assert levels["INFO"] > levels["DEBUG"] > levels["WARN"] > 0
    assert all(item.severity == SEVERITIES[item.severity_text] for item in items)
    assert {item.scope for item in items} == set(SCOPES.values())


def test_every_request_is_of_one_sender(traffic, messages):
    for request, message in zip(traffic.logs.requests, messages, strict=True):
        (group,) = message.resource_logs
        resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
        assert resource["butterfly.node.id"] == f"node-{request.sender:03d}"
        assert len(resource) == 10
        assert 0 < len(request) <= 60
    assert {request.sender for request in traffic.logs.requests} == {0, 1, 2, 3}


def test_a_record_is_on_its_spans_node_at_its_spans_time(items, spans):
    tied = 0
    for item in items:
        trace, span_id = ids_of(item)
        if not trace:
            continue
        tied += 1
        node, span = spans[trace, span_id]
        assert item.resource["butterfly.node.id"] == node
        assert span.start_time_unix_nano <= item.time <= span.end_time_unix_nano
        assert item.time < item.observed < item.time + 10**9
    assert 0.88 < tied / len(items) < 0.97


def test_every_failed_span_has_an_error_and_every_byzantine_one_a_warning(traffic, items, spans):
    levels = defaultdict(set)
    for item in items:
        levels[ids_of(item)].add(item.severity_text)
    failed = {key for key, (_, span) in spans.items() if span.status.code == 2}
    assert len(failed) == np.count_nonzero(traffic.flags & ERROR) > 10
    assert {key for key, seen in levels.items() if "ERROR" in seen} == failed
    warned = {key for key, seen in levels.items() if "WARN" in seen and key[0]}
    assert len(warned) == np.count_nonzero(traffic.flags & BYZANTINE) > 10


def test_mandatory_records_are_there_however_few_are_asked_for(traffic):
    few = Traffic(Shape(seed=13, senders=4, batch=50, spans=4_000, mix=SHAPE.mix, logs=LogShape(records=1)))
    count = sum(int(np.count_nonzero(traffic.flags & bit)) for bit in (ERROR, BYZANTINE))
    assert few.logs.records == sum(map(len, few.logs.requests)) == count


def test_fields_of_structured_records(items):
    structured = [(item, structure(item)) for item in items if structure(item) is not None]
    assert len(structured) > 1_000
    for item, body in structured:
        assert {"timestamp", "level", "message", "node_id", "component", "fields"} <= set(body)
        moment = dt.datetime.fromisoformat(body["timestamp"])
        assert len(body["timestamp"]) == 24
        assert moment == dt.datetime.fromtimestamp(item.time // 10**6 / 1000, dt.UTC)
        assert body["level"] == item.severity_text
        assert body["node_id"] == item.resource["butterfly.node.id"]
        assert body["component"] == item.scope[0]
        assert body.get("trace_id", "") == item.trace_id
        assert body.get("span_id", "") == item.span_id
        assert len(body["fields"]) > 4


def request_id(item):
    body = structure(item)
    return item.attributes.get("butterfly.request.id") if body is None else body.get("request_id")


def test_request_ids(items):
    without = 0
    for item in items:
        trace, _ = ids_of(item)
        found = request_id(item)
        assert found in {None, f"req-{trace[16:]}"}
        without += bool(trace) and found is None
    assert 0.05 < without / len(items) < 0.15


def test_some_name_their_trace_in_an_attribute_alone(items):
    only = [item for item in items if "traceparent" in item.attributes]
    assert 0.06 < len(only) / len(items) < 0.13
    for item in only:
        assert not item.trace_id
        assert not item.span_id
        trace, span = ids_of(item)
        body = structure(item) or {}
        assert "trace_id" not in body
        assert (len(trace), len(span)) == (32, 16)


def test_flags_say_sampled_where_there_is_an_id(items):
    assert all(item.flags == (1 if item.trace_id else 0) for item in items)


def test_uids_are_fresh_on_every_send(traffic, clock):
    seen = set()
    for cycle in range(3):
        for request in traffic.logs.requests:
            message = ExportLogsServiceRequest.FromString(request.encode(cycle, clock))
            seen.update(uid(item) for item in records(message))
    assert len(seen) == 9_000
    assert all(len(each) == 16 for each in seen)


def test_no_mark_is_left_in_the_bytes(traffic, clock):
    for request in traffic.logs.requests:
        payload = request.encode(1, clock)
        assert not any(mark.encode() * 8 in payload for mark in "TSRUD")
        assert UID_KEY.encode() in payload


def test_personal_values_can_be_left_out(traffic):
    shape = Shape(seed=1, senders=1, batch=50, spans=500, mix=Mix(personal=0.0), logs=LogShape(records=500))
    clean = b"".join(request.encode(0, Clock(0, {0: (BEGAN, 1)})) for request in Traffic(shape).logs.requests)
    assert not any(key in clean for key in (b"user.email", b"user.id", b"client.address", b"enduser.id"))
    dirty = b"".join(request.encode(0, Clock(0, {0: (BEGAN, 1)})) for request in traffic.logs.requests)
    assert b"user.email" in dirty


def test_the_same_shape_gives_the_same_bytes(clock):
    small = Shape(seed=3, senders=2, batch=50, spans=500, logs=LogShape(records=200))

    def bytes_of(shape):
        return [request.encode(1, clock) for request in Traffic(shape).logs.requests]

    assert bytes_of(small) == bytes_of(small)
    assert bytes_of(small) != bytes_of(Shape(seed=4, senders=2, batch=50, spans=500, logs=LogShape(records=200)))


def test_traces_are_the_same_with_and_without_logs():
    small = Shape(seed=3, senders=2, batch=50, spans=500)
    ends = np.zeros(1_000, np.int64)
    with_logs = Traffic(Shape(seed=3, senders=2, batch=50, spans=500, logs=LogShape(records=200)))
    assert [r.encode(0, ends) for r in Traffic(small).requests] == [r.encode(0, ends) for r in with_logs.requests]


def test_records_are_in_the_order_of_their_traces(traffic):
    content = traffic.logs.content
    assert [record.trace for record in content] == sorted(record.trace for record in content)
