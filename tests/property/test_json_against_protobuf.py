"""OTLP/JSON is what protobuf's own JSON is, but for the ids; and it comes back as the same message."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_messages import REQUESTS, canonical, random_request, untidy

from collector.wire import Malformed, from_json, to_json, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

SIGNALS = ("traces", "metrics", "logs")
IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}
UNKNOWN = ({"dataPoints": [{"asInt": 1}]}, [[], {"x": None}], "text", -1.5e3, None)


def with_hex_ids(shown: dict[str, Any], descriptor: Descriptor) -> dict[str, Any]:
    by_name = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    converted = {}
    for name, value in shown.items():
        field = by_name[name]
        if field.message_type is not None:
            many = [with_hex_ids(one, field.message_type) for one in (value if field.is_repeated else [value])]
            converted[name] = many if field.is_repeated else many[0]
        else:
            converted[name] = base64.b64decode(value).hex() if name in IDS else value
    return converted


@pytest.mark.parametrize("signal", SIGNALS)
@given(seed=st.integers(0, 2**48))
@settings(max_examples=120, deadline=None)
def test_writes_what_protobuf_writes(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, signal))
    message = REQUESTS[signal].FromString(payload)
    expected = with_hex_ids(MessageToDict(message, use_integers_for_enums=True), message.DESCRIPTOR)
    text = to_json(payload, signal)
    assert json.loads(text) == expected
    assert b"\n" not in text


@pytest.mark.parametrize("signal", SIGNALS)
@given(seed=st.integers(0, 2**48))
@settings(max_examples=120, deadline=None)
def test_what_was_written_reads_back_as_the_same_message(signal: str, seed: int) -> None:
    rnd = Random(seed)
    message = random_request(rnd, signal)
    payload = from_json(to_json(untidy(Random(0), message), signal), signal)
    if signal == "traces":
        validate(payload)
    expected = REQUESTS[signal].FromString(untidy(Random(0), message))
    expected.DiscardUnknownFields()
    assert canonical(REQUESTS[signal].FromString(payload)) == canonical(expected)


def wide_integers(descriptor: Descriptor, seen: set[str]) -> Iterator[str]:
    """The names of all fields of 64 bits, which JSON may write as strings or as numbers."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
            yield from (field.name, field.json_name)
        if field.message_type is not None:
            yield from wide_integers(field.message_type, seen)


WIDE = {name for request in REQUESTS.values() for name in wide_integers(request.DESCRIPTOR, set())}


def restyled(rnd: Random, shown: Any, name: str = "") -> Any:
    """The same request as other senders may write it: in any order, ids in capitals, with fields that nobody knows."""
    if isinstance(shown, list):
        return [restyled(rnd, one, name) for one in shown]
    if isinstance(shown, dict):
        members = [(each, restyled(rnd, value, each)) for each, value in shown.items()]
        if rnd.random() < 0.3:
            members.append(("unheardOf", rnd.choice(UNKNOWN)))
        rnd.shuffle(members)
        return dict(members)
    if rnd.random() < 0.5:
        return shown
    if name in IDS:
        return shown.upper()
    return int(shown) if name in WIDE else shown


@pytest.mark.parametrize("signal", SIGNALS)
@given(seed=st.integers(0, 2**48))
@settings(max_examples=120, deadline=None)
def test_reads_every_form_that_protobuf_writes(signal: str, seed: int) -> None:
    rnd = Random(seed)
    message = random_request(rnd, signal)
    names, numbers = rnd.random() < 0.5, rnd.random() < 0.5
    shown = MessageToDict(message, preserving_proto_field_name=names, use_integers_for_enums=numbers)
    text = json.dumps(restyled(rnd, with_hex_ids(shown, message.DESCRIPTOR)), ensure_ascii=rnd.random() < 0.5)
    payload = from_json(text.encode(), signal)
    assert canonical(REQUESTS[signal].FromString(payload)) == canonical(message)


@given(seed=st.integers(0, 2**48), data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_text_is_read_or_refused_and_nothing_else(seed: int, data: st.DataObject) -> None:
    rnd = Random(seed)
    text = bytearray(to_json(random_request(rnd, "traces").SerializeToString()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = rnd.randrange(len(text))
        text[place : place + rnd.randrange(3)] = rnd.choice((b"", b'"', b"{", b"]", b"null", b"\\u", b"\xff", b"1e999"))
    try:
        payload = from_json(bytes(text))
    except Malformed:
        return
    json.loads(text)  # only JSON is read
    validate(payload)


@given(seed=st.integers(0, 2**48))
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_written_or_refused_and_nothing_else(seed: int) -> None:
    rnd = Random(seed)
    payload = bytearray(random_request(rnd, "metrics").SerializeToString())
    for _ in range(rnd.randrange(1, 4)):
        payload[rnd.randrange(len(payload))] = rnd.randrange(256)
    del payload[rnd.randrange(len(payload) + 1) :]
    try:
        text = to_json(bytes(payload), "metrics")
    except Malformed:
        return
    json.loads(text)
