"""OTLP/JSON: the specification's example, every rule by name, and everything that must be refused cleanly."""

# ruff: noqa: UP031 - JSON is full of braces, so the percent sign is the readable way to fill it in

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.wire import Malformed, from_json, to_json, validate, write_json

EXAMPLE = Path(__file__).parents[3] / "data" / "opentelemetry_proto_trace.json"


def span_text(fields: str) -> bytes:
    return ('{"resourceSpans":[{"scopeSpans":[{"spans":[{%s}]}]}]}' % fields).encode()


def read_span(fields: str) -> Span:
    payload = from_json(span_text(fields))
    validate(payload)
    return ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans[0]


def read_value(text: str) -> Any:
    return read_span('"attributes":[{"key":"k","value":%s}]' % text).attributes[0].value


def refusal(text: bytes, **options: Any) -> str:
    with pytest.raises(Malformed) as refused:
        from_json(text, **options)
    return str(refused.value)


def test_the_example_of_opentelemetry_proto_goes_in_and_comes_out_equal() -> None:
    example = json.loads(EXAMPLE.read_bytes())
    span = example["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    for text in (EXAMPLE.read_bytes(), EXAMPLE.read_bytes().replace(b'"1544712661000000000"', b"1544712661000000000")):
        written = json.loads(to_json(from_json(text)))
        lower = {name: span[name].lower() for name in ("traceId", "spanId", "parentSpanId")}
        expected = json.loads(json.dumps(example))
        expected["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= lower
        assert written == expected


def test_ids_are_hex_of_either_case() -> None:
    span = read_span('"traceId":"000102030405060708090A0b0C0d0E0f","spanId":"FFfeFDfcFBfaF9f8","parentSpanId":""')
    assert (span.trace_id, span.span_id) == (bytes(range(16)), bytes(range(255, 247, -1)))
    assert span.parent_span_id == b""


@pytest.mark.parametrize("name", ["traceId", "spanId", "parentSpanId"])
@pytest.mark.parametrize(
    "value", ["0" * 15, "0" * 30, "0" * 34, "g" * 32, "g" * 16, "W47/95gDgQPSabYzgT/GDA==", "+" * 16]
)
def test_an_id_of_another_form_is_refused_with_its_place_and_without_its_value(name: str, value: str) -> None:
    text = '{"resourceSpans":[{},{"scopeSpans":[{"spans":[{},{},{"%s":"%s"}]}]}]}' % (name, value)
    message = refusal(text.encode())
    assert message.startswith(f"resourceSpans[1].scopeSpans[0].spans[2].{name}: expected ")
    assert value not in message


@pytest.mark.parametrize("text", ['"%d"', "%d"])
@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1])
def test_64_bit_integers_are_strings_or_numbers(text: str, number: int) -> None:
    value = read_value('{"intValue":%s}' % (text % number))
    assert value.WhichOneof("value") == "int_value"
    assert value.int_value == number


def test_integers_in_other_writings() -> None:
    assert read_value('{"intValue":1e3}').int_value == 1000
    assert read_value('{"intValue":"-2.0"}').int_value == -2
    assert read_value('{"intValue":-0}').int_value == 0
    assert read_span('"startTimeUnixNano":"18446744073709551615"').start_time_unix_nano == 2**64 - 1
    assert read_span('"droppedLinksCount":"4294967295"').dropped_links_count == 2**32 - 1


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ('"startTimeUnixNano":-1', "startTimeUnixNano"),
        ('"startTimeUnixNano":18446744073709551616', "startTimeUnixNano"),
        ('"endTimeUnixNano":"99999999999999999999999999999999"', "endTimeUnixNano"),
        ('"startTimeUnixNano":1e20', "startTimeUnixNano"),
        ('"flags":4294967296', "flags"),
        ('"kind":2147483648', "kind"),
        ('"droppedEventsCount":-1', "droppedEventsCount"),
        ('"attributes":[{"value":{"intValue":9223372036854775808}}]', "attributes[0].value.intValue"),
        ('"attributes":[{},{"value":{"intValue":-9223372036854775809}}]', "attributes[1].value.intValue"),
        ('"attributes":[{"value":{"doubleValue":1e999}}]', "attributes[0].value.doubleValue"),
        ('"attributes":[{"value":{"intValue":1e999}}]', "attributes[0].value.intValue"),
    ],
)
def test_numbers_out_of_range(fields: str, place: str) -> None:
    message = refusal(span_text(fields))
    assert message == f"resourceSpans[0].scopeSpans[0].spans[0].{place}: the number is out of range"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"name":1', "expected a string"),
        ('"name":["a"]', "expected a string"),
        ('"startTimeUnixNano":"x"', "expected an integer, as a number or a string"),
        ('"startTimeUnixNano":""', "expected an integer, as a number or a string"),
        ('"startTimeUnixNano":" 1"', "expected an integer, as a number or a string"),
        ('"startTimeUnixNano":1.5', "expected an integer, as a number or a string"),
        ('"startTimeUnixNano":true', "expected an integer, as a number or a string"),
        ('"startTimeUnixNano":"01"', "expected an integer, as a number or a string"),
        ('"kind":"SPAN_KIND_NONSENSE"', "expected a number or a name of its enumeration"),
        ('"kind":{}', "expected a number or a name of its enumeration"),
        ('"attributes":{}', "expected an array"),
        ('"attributes":[null]', "expected an object"),
        ('"status":[]', "expected an object"),
        ('"attributes":[{"value":{"boolValue":"true"}}]', "expected true or false"),
        ('"attributes":[{"value":{"doubleValue":"one"}}]', "expected a number"),
        ('"attributes":[{"value":{"doubleValue":NaN}}]', "expected a number"),
        ('"attributes":[{"value":{"bytesValue":"a"}}]', "expected base64"),
        ('"attributes":[{"value":{"bytesValue":"a*=="}}]', "expected base64"),
        ('"name":"a","name":"a"', "is given twice, or beside a field that excludes it"),
        ('"traceState":"a","trace_state":"a"', "is given twice, or beside a field that excludes it"),
        (
            '"attributes":[{"value":{"intValue":1,"boolValue":true}}]',
            "is given twice, or beside a field that excludes it",
        ),
    ],
)
def test_values_of_the_wrong_kind(fields: str, problem: str) -> None:
    message = refusal(span_text(fields))
    assert message.startswith("resourceSpans[0].scopeSpans[0].spans[0].")
    assert message.endswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"[]", b"null", b"1", b'"x"', b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"{} {}",
        b"{}x", b"{'a':1}", b'{"a":[1,]}', b'{"a":tru}', b'{"a":.5}', b'{"a":1.}', b'{"a":1e}', b'{"a":-}', b'{"a":+1}',
        b'{"a":Infinity}', b'{"a":NaN}', b'{"a":"\x01"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\\ud800"}',
        b'{"a":"\\udc00"}', b'{"a":"\\ud800\\u0041"}', b'{"a":"\\ud800x"}', b'{"\\ud800":1}', b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b'{"a":[}', b'{"a":{]}', b'{"a":[1}', b"{1:2}", b'{"a" 1}',
        b'{"resourceSpans":[{}}', b'{"resourceSpans":[{},]}', b'{"resourceSpans":[{}] "a":1}',
        '{"a":1}'.encode("utf-16"), b"{}\0", b"\0",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_refused(text: bytes) -> None:
    assert refusal(text)


def test_an_empty_request() -> None:
    assert from_json(b"{}") == b""
    assert from_json(b' \t\r\n{ "resourceSpans" : [ ] } \n') == b""
    assert from_json(b'{"resourceSpans":null}') == b""
    assert to_json(b"") == b"{}"


def test_names_in_snake_case_with_escapes_null_and_unknown_fields() -> None:
    span = read_span(
        '"trace_state":"a=1","na\\u006de":"n","kind":"SPAN_KIND_CLIENT","status":null,"attributes":null,'
        '"unknown":{"deep":[1,{"x":[[]],"y":{}},"\\"",true,null,-1.5e+3]},"TraceId":"not ours","flags":null'
    )
    assert (span.trace_state, span.name, span.kind) == ("a=1", "n", Span.SPAN_KIND_CLIENT)
    assert not span.HasField("status")


def test_text_with_every_escape() -> None:
    assert read_span(r'"name":"\"\\\/\b\f\n\r\t\u0000\u00e9\u20ac\ud83d\ude00é"').name == '"\\/\b\f\n\r\t\0é€😀é'


def test_doubles() -> None:
    for text, number in (("1", 1.0), ("-0.0", -0.0), ('"1.5"', 1.5), ("5e-324", 5e-324), ('"Infinity"', math.inf)):
        value = read_value('{"doubleValue":%s}' % text)
        assert repr(value.double_value) == repr(number)
    assert math.isnan(read_value('{"doubleValue":"NaN"}').double_value)
    assert read_value('{"doubleValue":"-Infinity"}').double_value == -math.inf
    assert read_value('{"doubleValue":12345678901234567890123}').double_value == 12345678901234567890123.0


def test_bytes_in_both_alphabets_padded_or_not() -> None:
    for text in ("+/8=", "-_8=", "+/8", "-_8"):
        assert read_value('{"bytesValue":"%s"}' % text).bytes_value == b"\xfb\xff"
    for plain in (b"", b"a", b"ab", b"abc", b"abcd"):
        made = ExportTraceServiceRequest()
        made.resource_spans.add().resource.attributes.add().value.bytes_value = plain
        assert ExportTraceServiceRequest.FromString(from_json(to_json(made.SerializeToString()))) == made


def test_members_of_a_oneof_are_written_with_their_default_values() -> None:
    for text in ('{"intValue":"0"}', '{"boolValue":false}', '{"stringValue":""}', '{"doubleValue":0.0}',
                 '{"bytesValue":""}', '{"arrayValue":{}}', '{"kvlistValue":{}}', "{}"):  # fmt: skip
        written = json.loads(to_json(from_json(span_text('"attributes":[{"value":%s}]' % text))))
        assert written["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"] == [{"value": json.loads(text)}]


def nested(depth: int, kind: str) -> str:
    opening, closing = {
        "list": ('{"arrayValue":{"values":[', "]}}"),
        "map": ('{"kvlistValue":{"values":[{"value":', "}]}}"),
    }[kind]
    return opening * (depth - 1) + "{}" + closing * (depth - 1)


def test_values_nest_as_deep_as_validate_allows_and_no_deeper() -> None:
    for limit in (1, 5, 32):
        deepest = span_text('"attributes":[{"value":%s}]' % nested(limit, "list"))
        validate(from_json(deepest, max_depth=limit), max_depth=limit)
        message = refusal(span_text('"attributes":[{"value":%s}]' % nested(limit + 1, "list")), max_depth=limit)
        assert message.endswith("nested too deep")


def test_messages_nest_as_deep_as_protobuf_allows_and_no_deeper() -> None:
    accepted = 0
    for depth in range(20, 40):
        text = span_text('"events":[{"attributes":[{"value":%s}]}]' % nested(depth, "map"))
        try:
            payload = from_json(text, max_depth=1000)
        except Malformed:
            continue
        accepted += 1
        ExportTraceServiceRequest.FromString(payload)
        to_json(payload)
    assert 5 < accepted < 20


@pytest.mark.parametrize("text", [b'{"a":' + b"[" * 10**6, b'{"a":' * 10**6, b'{"resourceSpans":' + b"[" * 10**6])
def test_endless_nesting_is_refused(text: bytes) -> None:
    assert refusal(text)


def test_other_signals() -> None:
    metrics = {
        "resourceMetrics": [
            {
                "scopeMetrics": [
                    {
                        "metrics": [
                            {"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": "5", "asInt": "0"}]}},
                            {
                                "name": "h",
                                "histogram": {
                                    "dataPoints": [
                                        {"count": "3", "sum": 0.0, "bucketCounts": ["1", "2"], "explicitBounds": [0.5]}
                                    ],
                                    "aggregationTemporality": 2,
                                },
                            },
                            {"name": "e", "exponentialHistogram": {"dataPoints": [{"scale": -3, "zeroCount": "1"}]}},
                        ]
                    }
                ]
            }
        ]
    }
    payload = from_json(json.dumps(metrics).encode(), "metrics")
    assert json.loads(to_json(payload, "metrics")) == metrics
    points = ExportMetricsServiceRequest.FromString(payload).resource_metrics[0].scope_metrics[0].metrics
    assert list(points[1].histogram.data_points[0].bucket_counts) == [1, 2]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "ab" * 16, "body": {"stringValue": "x"}}]}]}]}
    payload = from_json(json.dumps(logs).encode(), "logs")
    assert json.loads(to_json(payload, "logs")) == logs
    record = ExportLogsServiceRequest.FromString(payload).resource_logs[0].scope_logs[0].log_records[0]
    assert record.trace_id == b"\xab" * 16
    with pytest.raises(ValueError, match="not a signal"):
        to_json(b"", "profiles")  # type: ignore[arg-type] - that is the test


@pytest.mark.parametrize(
    "payload",
    [b"\x0a", b"\x0a\x05a", b"\x0a\x02\x12\x05", b"\x0c", b"\x0f", b"\x00", b"\x80" * 11, b"\x0a\x04\x1a\x02\xff\xfe",
     b"\x0b", b"\x0b\x14"],
)  # fmt: skip
def test_bytes_that_are_not_a_request_are_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        to_json(payload)


def test_repetitions_on_every_level_do_not_multiply_the_work() -> None:
    value, shown = b"\x10\x01", '{"boolValue":true}'
    for _ in range(30):
        entry = b"\x12\x00" + b"\x12" + varint(len(value)) + value  # KeyValue.value twice, to be merged
        entries = b"\x0a" + varint(len(entry)) + entry
        value = b"\x10\x00" + b"\x32" + varint(len(entries)) + entries  # two members of the oneof
        shown = '{"kvlistValue":{"values":[{"value":%s}]}}' % shown
    for tag in (b"\x12", b"\x0a", b"\x0a", b"\x0a"):  # KeyValue, Resource, ResourceSpans, the request
        value = tag + varint(len(value)) + value
    expected = '{"resourceSpans":[{"resource":{"attributes":[{"value":%s}]}}]}' % shown
    assert to_json(value) == expected.encode()


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


PEAK = """
from pathlib import Path
from collector.wire import Malformed, from_json

def status(name):
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if name in line))

text = {text}
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = status("VmRSS")
try:
    from_json(text)
except Malformed:
    pass
print((status("VmHWM") - before) // 1024)
"""


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("b'{\"x\":[' + b'{},' * ((64 << 20) // 3) + b'{}]}'", 4),
        ("b'{\"resourceSpans\":[' + b'[' * (64 << 20)", 4),
        ("b'{\"x\":\"' + b'\\\\u0000' * ((64 << 20) // 6) + b'\"}'", 16),
        ("b'{\"x\":' + b'9' * (64 << 20) + b'}'", 4),
        ("b'{\"resourceSpans\":[' + b'{},' * ((64 << 20) // 3) + b'{}]}'", 96),
    ],
)
def test_a_body_of_64_mib_takes_memory_for_what_is_kept_of_it_alone(text: str, most: int) -> None:
    done = subprocess.run([sys.executable, "-c", PEAK.format(text=text)], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= most  # MiB


def hostile(size: int) -> bytes:
    """A request whose text is far longer than it: controls, quotes, bytes, ids and small elements, each of `size`."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(parent_span_id=b"\xff" * size)
    span.name = "\x01" * size
    span.status.message = '"' * size + "plain" * size
    span.attributes.add(key="b").value.bytes_value = b"\x80" * (size + 1)
    for _ in range(size // 10):
        span.links.add(dropped_attributes_count=1)
    return request.SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 1000, 49_152, 300_000])
def test_the_pieces_are_the_text(size: int) -> None:
    payload = hostile(size)
    pieces: list[bytes] = []
    write_json(payload, pieces.append)
    assert b"".join(pieces) == to_json(payload)
    assert max(map(len, pieces)) < 1 << 19
    json.loads(b"".join(pieces))


def test_what_the_taker_raises_ends_the_writing() -> None:
    taken = []

    def take(piece: bytes) -> None:
        taken.append(piece)
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        write_json(hostile(300_000), take)
    assert len(taken) == 1


def test_malformed_bytes_are_refused_in_pieces_too() -> None:
    with pytest.raises(Malformed):
        write_json(b"\x0a\xff", lambda _piece: None)
