"""Scrubbing on the bytes gives what a plain model on protobuf's objects gives; nothing else is touched."""

from __future__ import annotations

import hashlib
import hmac
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from otlp_messages import ID_SIZES, REQUESTS, UNKNOWN, canonical, random_request, untidy, varint

from processors.pii_scrubber.actions import DETECT, Action, What
from processors.pii_scrubber.detect import KIND_NAMES, CustomPattern, ValueDetectors
from processors.pii_scrubber.key_rules import KeyRule, KeyRules
from processors.pii_scrubber.scrubber import Scrubber

SECRET = b"a pepper that is long enough"
RULES = (
    KeyRule(("user.id",), Action(What.HASH)),
    KeyRule(("llm.prompt", "llm.*.text"), Action(What.LENGTH)),
    KeyRule(("client.address",), Action(What.MASK)),
    KeyRule(("masked",), Action(What.MASK, b"(gone)")),
    KeyRule(("server.address",), Action(What.MASK_IP)),
    KeyRule(("tensor.shape",), Action(What.SHAPE)),
    KeyRule(("tensor.values",), Action(What.REDACT)),
    KeyRule(("dropped", "drop*"), Action(What.DELETE)),
    KeyRule(("left.alone",), Action(What.IGNORE)),
)
PATTERNED = KeyRule((), Action(What.HASH), ("(?i)secret",))
KEYS = (
    "user.id", "llm.prompt", "llm.x.text", "client.address", "masked", "server.address", "tensor.shape",
    "tensor.values", "dropped", "dropped.too", "left.alone", "plain", "other", "", "my.SECRET.key",
    "ann@example.com", "k" * 700,
)  # fmt: skip
PLANTED = (
    "ann@example.com", "write to ann@example.com or bob@example.org!", "203.0.113.7", "10.1.0.0", "2001:db8:1:2::3",
    "[2001:db8::1]:443", "10.1.2.3:8080", "10.1.2.3, 10.2.3.4", "node-1.internal", "[1,128,4096]", "u-0000001",
    "4111 1111 1111 1111", "ünïcödé", "plain text", "", "x" * 200, "ann@example.com " * 20, "ot=th:8;rv:12345678901234",
    "vendor=ann@example.com,ot=th:c", "Bearer abcdefghijklmnopqrstuvwx12345",
)  # fmt: skip


def scrubber(*more: KeyRule, otherwise: Action = DETECT) -> Scrubber:
    rules = KeyRules([*RULES, *more], otherwise=otherwise)
    return Scrubber(DETECTORS, rules, digest=lambda value: hmac.digest(SECRET, value, "sha256"), prefix=b"k1:")


DETECTORS = ValueDetectors(KIND_NAMES)
SCRUBBER = scrubber()
PATTERNED_SCRUBBER = scrubber(PATTERNED)
LISTED = (*RULES, KeyRule(("plain", "other"), Action(What.DETECT)))
LISTED_SCRUBBER = scrubber(*LISTED[len(RULES) :], otherwise=Action(What.UNLISTED))


class Model:
    """The scrubber, plainly: protobuf objects, no tables, no caches."""

    def __init__(self, *, patterned: bool = False, listed: bool = False) -> None:
        self.patterned = patterned
        self.listed = listed

    def message(self, message):
        for field, value in message.ListFields():
            if field.name in ID_SIZES:
                if len(value) != ID_SIZES[field.name]:
                    setattr(message, field.name, b"")
                continue
            if field.message_type is None:
                if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                    self.texts(message, field, value)
            elif field.message_type is KeyValue.DESCRIPTOR:
                self.attributes(value, "detect", removing=True, inside=False)
            elif field.message_type is AnyValue.DESCRIPTOR:
                self.value(value, "detect", inside=self.listed)
            else:
                for one in value if field.is_repeated else [value]:
                    self.message(one)
        return message

    def texts(self, message, field, value):
        look = state if field.name == "trace_state" else detected
        if field.is_repeated:
            value[:] = [look(one) for one in value]
        else:
            setattr(message, field.name, look(value))

    def action(self, key: str, removing: bool) -> str:
        match key:
            case "user.id":
                return "hash"
            case "llm.prompt" | "llm.x.text":
                return "length"
            case "client.address":
                return "mask"
            case "masked":
                return "(gone)"
            case "server.address":
                return "mask_ip"
            case "tensor.shape":
                return "shape"
            case "tensor.values":
                return "redact"
            case "dropped" | "dropped.too":
                return "delete"
            case "left.alone":
                return "ignore"
        if len(key.encode()) > 512:
            return "delete"
        if self.patterned and "SECRET" in key:
            return "hash"
        if self.listed and removing and key not in ("plain", "other"):
            return "delete"
        return "detect"

    def attributes(self, attributes, inherited: str, *, removing: bool, inside: bool):
        kept = []
        for one in attributes:
            # A key that is too long to be looked up can't be trusted, wherever it stands.
            action = self.action(one.key, removing) if inherited == "detect" else inherited
            if action == "delete":
                continue
            kept.append(one)
            if action == "ignore":
                continue
            one.key = detected(one.key)
            if one.HasField("value"):
                self.value(one.value, action, inside=inside)
            if action not in ("detect", "mask_ip", "shape"):
                one.DiscardUnknownFields()
        del attributes[:]
        attributes.extend(kept)

    def value(self, value, action: str, *, inside: bool):
        if action == "redact":
            if value.ByteSize():
                value.CopyFrom(AnyValue(string_value="[redacted]"))
            return
        kind = value.WhichOneof("value")
        if kind == "array_value":
            for one in value.array_value.values:
                self.value(one, action, inside=inside)
        elif kind == "kvlist_value":
            self.attributes(value.kvlist_value.values, action, removing=inside and self.listed, inside=inside)
        elif kind in ("string_value", "bytes_value"):
            self.leaf(value, kind, action)
        elif kind in (
            "bool_value",
            "int_value",
            "double_value",
        ):  # the fourth, an index of profiles', says nothing here
            self.number(value, kind, action)

    def leaf(self, value, kind: str, action: str):
        text = getattr(value, kind)
        if not text:
            return
        if action == "length":
            value.int_value = len(text)
            return
        raw = text.encode() if kind == "string_value" else text
        if action == "hash":
            new = hashed(raw)
        elif action == "(gone)":
            new = b"(gone)"
        elif action in ("mask", "mask_ip"):
            new = masked(raw) or (b"****" if action == "mask" else detected(raw))
        elif action == "shape" and all(byte in b"0123456789,[]() x*?" for byte in raw):
            new = raw
        else:
            new = detected(raw)
        setattr(value, kind, new.decode() if kind == "string_value" else new)

    def number(self, value, kind: str, action: str):
        number = getattr(value, kind)
        if action in ("detect", "shape") or (action == "length" and kind == "bool_value"):
            return
        if action == "length":
            if kind != "int_value" or not 0 <= number < 2**31:
                value.string_value = "[redacted]"
            return
        text = str(number).lower() if kind == "bool_value" else repr(number)
        value.string_value = {"hash": hashed(text.encode()).decode(), "(gone)": "(gone)"}.get(action, "****")


def detected(text):
    raw = text.encode() if isinstance(text, str) else text
    new = DETECTORS.scrub(raw)
    if new is None:
        return text
    return new.decode() if isinstance(text, str) else new


def state(text: str) -> str:
    members = text.split(",")
    return ",".join(one if one.startswith("ot=th:") else detected(one) for one in members)


def hashed(raw: bytes) -> bytes:
    return b"k1:" + hmac.new(SECRET, raw, hashlib.sha256).hexdigest().encode()


def masked(raw: bytes) -> bytes | None:
    known = {
        b"203.0.113.7": b"203.0.0.0",
        b"10.1.0.0": b"10.1.0.0",
        b"2001:db8:1:2::3": b"2001:db8:1::",
        b"[2001:db8::1]:443": b"2001:db8::",
        b"10.1.2.3:8080": b"10.1.0.0",
        b"10.1.2.3, 10.2.3.4": b"10.1.0.0, 10.2.0.0",
    }
    return known.get(raw)


def plant(rnd: Random, message) -> None:
    """Put keys that have rules, and values that are found, in a random message."""
    for field, value in message.ListFields():
        if field.name in ID_SIZES:
            continue
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                plant(rnd, one)
        elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            texts = KEYS if field.full_name.endswith("KeyValue.key") else PLANTED
            count = len(value) if field.is_repeated else 1
            chosen = [rnd.choice(texts) for _ in range(count)]
            if field.type == field.TYPE_BYTES:
                chosen = [one.encode() + rnd.choice((b"", b"\xff\xfe")) for one in chosen]
            if field.is_repeated:
                value[:] = chosen
            else:
                setattr(message, field.name, chosen[0])


@pytest.mark.parametrize("signal", REQUESTS)
@pytest.mark.parametrize(
    ("compiled", "model"),
    [
        (SCRUBBER, Model()),
        (PATTERNED_SCRUBBER, Model(patterned=True)),
        (LISTED_SCRUBBER, Model(listed=True)),
    ],
    ids=("exact", "patterns", "listed"),
)
@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_it_is_as_the_model_says(signal, compiled, model, seed):
    rnd = Random(seed)
    request = random_request(rnd, signal)
    plant(rnd, request)
    payload = untidy(rnd, request)
    kind = REQUESTS[signal]
    before = kind.FromString(payload)
    expected = model.message(kind.FromString(payload))
    scrubbed = compiled.scrub(signal, payload)
    if scrubbed is None:
        assert canonical(expected) == canonical(before)
    else:
        assert canonical(kind.FromString(scrubbed)) == canonical(expected)
        assert scrubbed != payload
    roomy = compiled.scrub(signal, payload + ROOM)
    assert roomy == (None if scrubbed is None else scrubbed + ROOM)


ROOM = b"\x0a\x83\x01\x1a\x80\x01" + b"a" * 128
"""A resource of nothing but a schema URL. Behind most of a request, what is read ahead is the request's own."""
CLOSELY = Scrubber(
    ValueDetectors(KIND_NAMES, [CustomPattern("never", "never{99}")]),
    KeyRules([*RULES]),
    digest=lambda value: hmac.digest(SECRET, value, "sha256"),
    prefix=b"k1:",
)
"""With a pattern of the user's no look is a quick one."""
QUICK = scrubber()
VALUES = (
    b"\x0a\x04POST", b"\x0a\x14req-1fc5dc05d7b5a57f", b"\x0a\x0b203.0.113.7", b"\x0a\x0810.1.0.0",
    b"\x0a\x0c[1,128,4096]", b"\x0a\x104111111111111111", b"\x0a\x0fann@example.com", b"\x0a\x02\xc3\xa9",
    b"\x0a\x03\xff\xfe\xfd", b"\x10\x01", b"\x18\x07", b"\x18\xff\x7f", b"\x18" + b"\xff" * 9 + b"\x01",
    b"\x18" + b"\xff" * 6 + b"\x01", b"\x21" + b"\x40" * 8, b"\x0a" + bytes([70]) + b"a" * 70, b"", b"\x0a\x00",
    b"\x0a\x10consensus::stepa", b"\x0a\x21" + b"1 " * 16 + b"1", b"\x3a\x04POST", b"\x18\x80", b"\x0a\x05POST",
)  # fmt: skip
TIGHT_KEYS = (
    b"plain", b"tensor.shape", b"server.address", b"user.id", b"left.alone", b"masked", b"",
    b"a.key.of.29.bytes.x.x.x.x.x.x", b"a.key.of.30.bytes.x.x.x.x.x.xx", b"a.key.of.60.bytes" + b".x" * 22,
    b"ann@example.com", b"other", b"llm.prompt",
)  # fmt: skip


def tight(rnd: Random) -> bytes:
    """Attributes of a span, tightly encoded, of which one byte in a few hundred is any."""
    out = bytearray()
    for _ in range(rnd.randrange(1, 12)):
        key, value = rnd.choice(TIGHT_KEYS), rnd.choice(VALUES)
        body = bytes((10, len(key))) + key + bytes((18, len(value))) + value
        out += bytes((74, len(body))) + body
    if rnd.random() < 0.4:
        out[rnd.randrange(len(out))] = rnd.randrange(256)
    span = bytes(out)
    for tag in (2, 2, 1):
        span = varint(tag << 3 | 2) + varint(len(span)) + span
    return span


def outcome(compiled: Scrubber, payload: bytes):
    try:
        scrubbed = compiled.scrub("traces", payload)
    except ValueError:
        compiled.take_counts()
        return "refused", None
    return scrubbed, compiled.take_counts()


@settings(max_examples=1500, deadline=None)
@given(seed=st.integers(0, 2**32), room=st.booleans())
def test_a_quick_look_at_attributes_does_as_a_close_one(seed, room):
    payload = tight(Random(seed)) + ROOM * room
    assert outcome(QUICK, payload) == outcome(CLOSELY, payload)


@pytest.mark.parametrize("signal", REQUESTS)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_has_nothing_to_scrub_is_untouched(signal, seed):
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, signal))
    assert SCRUBBER.scrub(signal, payload) is None


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), signal=st.sampled_from(sorted(REQUESTS)))
def test_junk_raises_or_comes_out_as_protobuf_reads_it(data, signal):
    try:
        before = REQUESTS[signal].FromString(data)
    except Exception:
        before = None
    try:
        scrubbed = SCRUBBER.scrub(signal, data)
    except ValueError:
        return
    if before is not None:
        expected = Model().message(before)
        assert canonical(REQUESTS[signal].FromString(data if scrubbed is None else scrubbed)) == canonical(expected)


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_fields_beside_a_change_are_kept(unknown):
    def wrap(tag, *parts):
        body = b"".join(parts)
        return varint(tag << 3 | 2) + varint(len(body)) + body

    def request(text):
        value = wrap(2, unknown, wrap(1, text), unknown)
        span = wrap(2, unknown, wrap(9, unknown, wrap(1, b"plain"), value, unknown), unknown)
        return wrap(1, unknown, wrap(2, unknown, span, unknown)) + unknown

    assert SCRUBBER.scrub("traces", request(b"ann@example.com")) == request(b"[email]")
