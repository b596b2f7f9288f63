"""The walk visits every string and bytes field that protobuf's own descriptors know of, in every signal."""

import re
import time

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from processors.pii_scrubber.actions import Action, What
from processors.pii_scrubber.detect import KIND_NAMES, ValueDetectors
from processors.pii_scrubber.fields import ATTRIBUTE, FIELDS, NUMBERS, SPAN_ID, STATE, TEXT, TRACE_ID, VALUE
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
"""Fields that no scrubber may touch as long as they are ids, and why."""
ID_SIZES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}


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
                if short(field) in IDS:
                    content[field.number] = TRACE_ID if field.name == "trace_id" else SPAN_ID
                elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                    content[field.number] = STATE if field.name == "trace_state" else TEXT
                elif field.is_repeated:
                    content[field.number] = NUMBERS
            elif field.message_type is KeyValue.DESCRIPTOR:
                content[field.number] = ATTRIBUTE
            elif field.message_type is AnyValue.DESCRIPTOR:
                content[field.number] = VALUE
            else:
                content[field.number] = short(field.message_type)
        if name not in by_hand:
            expected[name] = content
    assert expected == FIELDS
    assert all(re.fullmatch(r"\w+(\.\w+)+", name) for name in FIELDS)


def to_id(name):
    """The signal of an id field, and the way to it from the request."""
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
    return signal, (*path, path[-1].message_type.fields_by_name[field])


def scrubbed_id(name, value):
    """The payload with that id, what comes of it, and what is counted."""
    signal, (*outer, last) = to_id(name)
    request = at = REQUESTS[signal]()
    for field in outer:
        at = getattr(at, field.name).add() if field.is_repeated else getattr(at, field.name)
    setattr(at, last.name, value)
    scrubber = Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes)
    payload = request.SerializeToString()
    return payload, scrubber.scrub(signal, payload), scrubber.take_counts()


@pytest.mark.parametrize("name", sorted(IDS))
def test_ids_stay_whatever_they_look_like(name):
    size = ID_SIZES[name.rpartition(".")[2]]
    for value in (b"", b"4111111111111111"[:size], b"ann@exam.example"[-size:], bytes(size)):
        _, scrubbed, _ = scrubbed_id(name, value)
        assert scrubbed is None


@pytest.mark.parametrize("name", sorted(IDS))
@pytest.mark.parametrize("value", [b"x", b"user 4711", CANARY.encode(), b"f" * 17, b"a" * 300])
def test_what_is_no_id_by_its_length_is_emptied(name, value):
    whole, scrubbed, (_, failures) = scrubbed_id(name, value)
    assert value not in scrubbed
    assert len(scrubbed) < len(whole)
    assert failures == {"bad_id": 1}


def test_an_earlier_occurrence_of_an_id_is_no_hiding_place():
    trace_id, text = b"\x01" * 16, b"bob@example.com"
    both = b"\x0a" + bytes([len(text)]) + text + b"\x0a\x10" + trace_id
    other_way = b"\x0a\x10" + trace_id + b"\x0a" + bytes([len(text)]) + text
    for span in (both, other_way):
        payload = wrapped(1, wrapped(2, wrapped(2, span)))
        scrubbed = Scrubber(ValueDetectors(()), KeyRules(()), digest=bytes).scrub("traces", payload)
        assert text not in scrubbed
        (got,) = REQUESTS["traces"].FromString(scrubbed).resource_spans[0].scope_spans[0].spans
        # Emptied and not dropped: where it was the one that counts, the earlier one must not come to count.
        assert got.trace_id == (trace_id if span is both else b"")


def wrapped(number, body):
    return bytes([number << 3 | 2]) + varint(len(body)) + body


def varint(value):
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def in_each_message(unknown):
    """`unknown` in an attribute, its value, an array and a list in it, a span, a resource and a request."""
    text = wrapped(1, b"plain")
    array = wrapped(5, wrapped(1, text) + unknown)
    pairs = wrapped(6, wrapped(1, wrapped(1, b"k") + wrapped(2, text)) + unknown)
    attribute = wrapped(1, b"key")
    spans = [
        wrapped(9, attribute + wrapped(2, text) + unknown),
        wrapped(9, attribute + wrapped(2, text + unknown)),
        wrapped(9, attribute + wrapped(2, array)),
        wrapped(9, attribute + wrapped(2, pairs)),
        unknown,
    ]
    for span in spans:
        yield wrapped(1, wrapped(2, wrapped(2, span)))
    yield wrapped(1, wrapped(1, unknown))
    yield wrapped(1, wrapped(1, b"")) + unknown


def as_group(number, body):
    return varint(number << 3 | 3) + body + varint(number << 3 | 4)


FINDABLE = [
    wrapped(12, CANARY.encode()),  # a number that OTLP may come to use
    varint(1000 << 3 | 2) + varint(len(CANARY)) + CANARY.encode(),
    wrapped(12, wrapped(1, wrapped(1, CANARY.encode()))),
    wrapped(12, b"\x08\x01" + wrapped(3, b"4111 1111 1111 1111")),
    as_group(12, wrapped(2, CANARY.encode())),
    as_group(12, as_group(3, wrapped(2, CANARY.encode())) + b"\x08\x05"),
]
HARMLESS = [wrapped(12, b"nothing"), wrapped(12, wrapped(1, b"deep") + b"\x10\x05"), as_group(12, b"\x08\x01")]


@pytest.mark.parametrize("unknown", FINDABLE)
def test_an_unknown_field_in_which_something_is_found_goes(unknown):
    for payload in in_each_message(unknown):
        scrubber = Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes)
        scrubbed = scrubber.scrub("traces", payload)
        assert scrubbed is not None
        assert unknown not in scrubbed
        assert CANARY.encode() not in scrubbed
        assert scrubber.take_counts()[1] == {"unknown_field": 1}
        REQUESTS["traces"].FromString(scrubbed)


@pytest.mark.parametrize("unknown", HARMLESS)
def test_an_unknown_field_in_which_nothing_is_found_stays(unknown):
    for payload in in_each_message(unknown):
        assert Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub("traces", payload) is None


@pytest.mark.parametrize("unknown", [*HARMLESS, b"\x60\x05"])
def test_under_a_rule_an_unknown_field_goes_whatever_it_holds(unknown):
    rules = KeyRules([KeyRule(("key",), Action(What.HASH))])
    for payload in list(in_each_message(unknown))[:4]:
        scrubbed = Scrubber(ValueDetectors(()), rules, digest=lambda _: b"1234").scrub("traces", payload)
        assert unknown not in scrubbed


@pytest.mark.parametrize("size", [12, 48, 49, 52, 65, 97])
@pytest.mark.parametrize("text", [b"198.51.100.7", b"4111111111111111", b"+14155552671", b"ann@example.com"])
def test_what_stands_behind_a_group_in_an_unknown_field_is_found(text, size):
    # A length that is a digit or a letter would join the text, if the content were searched as one run.
    padded = text + b" " * max(0, size - len(text))
    for group in (as_group(3, b""), as_group(3, as_group(4, b"\x08\x01")), b"\x08\x01"):
        for unknown in (wrapped(12, group + wrapped(3, padded)), as_group(12, group + wrapped(3, padded))):
            for payload in in_each_message(unknown):
                scrubbed = Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub("traces", payload)
                assert scrubbed is not None
                assert text not in scrubbed


def test_an_unknown_field_is_never_searched_for_long():
    deep = b"@" + b"\x08" + b"\xff" * 400_000 + b"\x01"
    for _ in range(9):
        deep = b"\x0a" + varint(len(deep)) + deep
    fields = wrapped(1, b"a@b") + b"\x0a\x05abcde" * 100_000
    empty = wrapped(1, b"a@b") + b"\x0a\x00" * 400_000
    for unknown in (deep, fields, empty):
        payload = wrapped(1, wrapped(1, wrapped(12, unknown)))
        begin = time.thread_time()
        Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub("traces", payload)
        assert time.thread_time() - begin < 2


def test_an_unknown_field_that_is_nested_too_deep_goes():
    deep = b"\x0a\x00"
    for _ in range(20):
        deep = wrapped(1, deep)
    payload = wrapped(1, wrapped(1, wrapped(12, deep)))
    assert (
        Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub("traces", payload) == b"\x0a\x02\x0a\x00"
    )


def test_a_number_field_that_comes_as_text_is_unknown_to_protobuf_and_looked_at():
    payload = wrapped(1, wrapped(2, wrapped(2, wrapped(6, CANARY.encode()))))  # Span.kind
    assert CANARY.encode() not in Scrubber(ValueDetectors(KIND_NAMES), KeyRules(()), digest=bytes).scrub(
        "traces", payload
    )
