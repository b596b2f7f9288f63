"""The walk visits every string and bytes field that protobuf's own descriptors know of, in every signal."""

import re

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from processors.pii_scrubber.actions import Action, What
from processors.pii_scrubber.detect import KIND_NAMES, ValueDetectors
from processors.pii_scrubber.fields import ATTRIBUTE, FIELDS, STATE, TEXT, VALUE
from processors.pii_scrubber.key_rules import KeyRule, KeyRules
from processors.pii_scrubber.scrubber import Scrubber

REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
CANARY = "canary@example.com"
PACKAGE = "opentelemetry.proto."
IDS = {
    "trace.v1.Span.trace_id": "what telemetry is joined by",
    "trace.v1.Span.span_id": "same",
    "trace.v1.Span.parent_span_id": "same",
    "trace.v1.Span.Link.trace_id": "same",
    "trace.v1.Span.Link.span_id": "same",
    "metrics.v1.Exemplar.trace_id": "same",
    "metrics.v1.Exemplar.span_id": "same",
    "logs.v1.LogRecord.trace_id": "same",
    "logs.v1.LogRecord.span_id": "same",
}
"""Fields that no scrubber may touch, and why."""


def short(descriptor):
    return descriptor.full_name.removeprefix(PACKAGE)


def paths(descriptor, path=(), seen=()):
    """Every way to a string or bytes field, through each kind of message once."""
    for field in descriptor.fields:
        if field.message_type is not None:
            if field.message_type.full_name not in seen:
                yield from paths(field.message_type, (*path, field), (*seen, field.message_type.full_name))
        elif field.type in (field.TYPE_STRING, field.TYPE_BYTES) and short(field) not in IDS:
            yield (*path, field)


def planted(request, path):
    """A request with the canary at the end of `path`, and nothing else."""
    *outer, last = path
    message = request
    for field in outer:
        child = getattr(message, field.name)
        if field.is_repeated:
            message = child.add()
        else:
            child.SetInParent()
            message = child
    value = CANARY.encode() if last.type == last.TYPE_BYTES else CANARY
    if last.is_repeated:
        getattr(message, last.name).append(value)
    else:
        setattr(message, last.name, value)
    return request.SerializeToString()


CASES = [
    pytest.param(signal, path, id=f"{signal}:{'.'.join(field.name for field in path)}")
    for signal, kind in REQUESTS.items()
    for path in paths(kind.DESCRIPTOR)
]


@pytest.mark.parametrize(("signal", "path"), CASES)
def test_a_canary_is_found_in_every_field(signal, path):
    payload = planted(REQUESTS[signal](), path)
    assert CANARY.encode() in payload
    scrubbed = Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub(signal, payload)
    assert scrubbed is not None
    assert CANARY.encode() not in scrubbed
    assert b"[email]" in scrubbed


@pytest.mark.parametrize(("signal", "path"), [case for case in CASES if "value.string_value" in case.id])
def test_a_key_rule_reaches_every_attribute(signal, path):
    at = next((at for at, field in enumerate(path) if field.message_type is KeyValue.DESCRIPTOR), None)
    if at is None:
        assert ".body." in "." + ".".join(field.name for field in path)  # it has no key
        return
    request = REQUESTS[signal]()
    request.ParseFromString(planted(request, path))
    message = request
    for field in path[: at + 1]:
        message = getattr(message, field.name)
        message = message[0] if field.is_repeated else message
    message.key = "secret"
    rules = KeyRules([KeyRule(("secret",), Action(What.DELETE))])
    scrubbed = Scrubber(ValueDetectors(()), rules, digest=bytes).scrub(signal, request.SerializeToString())
    assert scrubbed is not None
    assert CANARY.encode() not in scrubbed
    assert b"secret" not in scrubbed


def test_there_are_many_of_them():
    assert len(CASES) > 90
    assert {case.values[1][-1].full_name for case in CASES} >= {
        PACKAGE + name
        for name in (
            "trace.v1.Span.trace_state",
            "trace.v1.Status.message",
            "common.v1.EntityRef.id_keys",
            "metrics.v1.Metric.unit",
            "logs.v1.LogRecord.event_name",
            "common.v1.AnyValue.bytes_value",
        )
    }


def test_the_table_is_what_the_descriptors_say():
    reachable = {}

    def visit(descriptor):
        if short(descriptor) not in reachable:
            reachable[short(descriptor)] = descriptor
            for field in descriptor.fields:
                if field.message_type is not None:
                    visit(field.message_type)

    for kind in REQUESTS.values():
        visit(kind.DESCRIPTOR)
    by_hand = {"common.v1.KeyValue", "common.v1.AnyValue", "common.v1.ArrayValue", "common.v1.KeyValueList"}
    expected = {}
    for name, descriptor in reachable.items():
        content = {}
        for field in descriptor.fields:
            if field.message_type is None:
                if field.type in (field.TYPE_STRING, field.TYPE_BYTES) and short(field) not in IDS:
                    content[field.number] = STATE if field.name == "trace_state" else TEXT
            elif field.message_type is KeyValue.DESCRIPTOR:
                content[field.number] = ATTRIBUTE
            elif field.message_type is AnyValue.DESCRIPTOR:
                content[field.number] = VALUE
            else:
                content[field.number] = short(field.message_type)
        if name not in by_hand:
            expected[name] = content
    # Messages without any text need no entry, and fields that lead to such need none either.
    empty = {name for name, content in expected.items() if not content}
    expected = {
        name: {number: kind for number, kind in content.items() if kind not in empty}
        for name, content in expected.items()
        if name not in empty
    }
    assert expected == FIELDS
    assert all(re.fullmatch(r"\w+(\.\w+)+", name) for name in FIELDS)


@pytest.mark.parametrize("name", sorted(IDS))
def test_ids_stay_whatever_they_look_like(name):
    owner, _, field = name.rpartition(".")
    signal = {"trace": "traces", "metrics": "metrics", "logs": "logs"}[owner.partition(".")[0]]

    def way(descriptor, path=()):
        if short(descriptor) == owner:
            return path
        for each in descriptor.fields:
            if each.message_type is not None and each.message_type is not AnyValue.DESCRIPTOR and len(path) < 7:
                found = way(each.message_type, (*path, each))
                if found is not None:
                    return found
        return None

    path = way(REQUESTS[signal].DESCRIPTOR)
    last = path[-1].message_type.fields_by_name[field]
    payload = planted(REQUESTS[signal](), (*path, last))
    assert Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub(signal, payload) is None
