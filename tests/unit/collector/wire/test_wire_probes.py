"""Conditions that a scan evaluates, one by one. The comparison with a protobuf model is in tests/property."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.wire.scan import Malformed, Probes, scan

if TYPE_CHECKING:
    from collections.abc import Callable


def pair(key: str, value: Any) -> dict[str, Any]:
    kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value", bytes: "bytes_value"}[
        type(value)
    ]
    return {"key": key, "value": {kind: value}}


def request(resource: dict[str, Any], *spans: Span) -> bytes:
    message = ExportTraceServiceRequest()
    part = message.resource_spans.add()
    part.resource.attributes.extend(KeyValue(**pair(key, value)) for key, value in resource.items())
    part.scope_spans.add().spans.extend(spans)
    return message.SerializeToString()


def holds(add: Callable[[Probes], int], payload: bytes | Span) -> bool:
    probes = Probes()
    assert add(probes) == 0
    if isinstance(payload, Span):
        payload = request({}, payload)
    matches = scan(payload, probes).matches.tolist()
    assert len(matches) == 1
    return matches == [1]


def span(**attributes: Any) -> Span:
    return Span(attributes=[pair(key, value) for key, value in attributes.items()])


def test_without_probes_nothing_matches() -> None:
    assert scan(request({}, Span())).matches.tolist() == [0]
    assert scan(request({}, Span()), Probes()).matches.tolist() == [0]


def test_status_and_flags() -> None:
    failed = Span(status={"code": 2}, flags=0x101)
    assert holds(lambda p: p.status(2), failed)
    assert not holds(lambda p: p.status(1), failed)
    assert holds(lambda p: p.status(0), Span())
    assert holds(lambda p: p.flags(0x300), failed)
    assert not holds(lambda p: p.flags(0x200), failed)


def test_names() -> None:
    named = Span(name="GET /cart")
    assert holds(lambda p: p.name(["x", "GET /cart"]), named)
    assert not holds(lambda p: p.name(["GET /car", "GET /cart/"]), named)
    assert holds(lambda p: p.name(prefixes=["POST", "GET"]), named)
    assert not holds(lambda p: p.name(prefixes=["GET /cart/1"]), named)
    assert holds(lambda p: p.name(suffixes=["cart"]), named)
    assert not holds(lambda p: p.name(suffixes=["Cart"]), named)
    assert holds(lambda p: p.name([""]), Span())
    assert not holds(lambda p: p.name(), named)
    long = "n" * 300
    assert holds(lambda p: p.name([long]), Span(name=long))
    assert not holds(lambda p: p.name([long + "x"]), Span(name=long))


def test_event_names() -> None:
    eventful = Span(events=[{"name": "start"}, {"name": "byzantine.fault_detected"}])
    assert holds(lambda p: p.event_name(["byzantine.fault_detected"]), eventful)
    assert holds(lambda p: p.event_name(prefixes=["byzantine."]), eventful)
    assert not holds(lambda p: p.event_name(["stop"], prefixes=["t"]), eventful)
    assert not holds(lambda p: p.event_name([""]), Span())


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("k=v", True), ("a=b,k=v", True), ("a=b , \tk=v\t ,c=d", True), ("k=w", False), ("kk=v", False),
        ("k=vv", False), ("", False), ("k", False), ("=v", False), (",,k=v", True),
        ("k=w,k=v", True), ("a=k=v", False), ("k =v", False),
    ],
)  # fmt: skip
def test_trace_state(state: str, expected: bool) -> None:
    assert holds(lambda p: p.trace_state("k", ["u", "v"]), Span(trace_state=state)) == expected


def test_attribute_strings() -> None:
    assert holds(lambda p: p.attribute_string("k", ["x", "v"]), span(k="v"))
    assert not holds(lambda p: p.attribute_string("k", ["x"]), span(k="v"))
    assert not holds(lambda p: p.attribute_string("k", ["v"]), span(j="v"))
    assert not holds(lambda p: p.attribute_string("k", ["1"]), span(k=1))
    assert not holds(lambda p: p.attribute_string("k", ["v"]), span(k=b"v"))
    assert holds(lambda p: p.attribute_string("k" * 200, ["v" * 500]), span(**{"k" * 200: "v" * 500}))
    assert holds(lambda p: p.attribute_string("", [""]), span(**{"": ""}))


def test_any_of_repeated_keys_may_match() -> None:
    twice = Span(attributes=[pair("k", "a"), pair("k", "b")])
    assert holds(lambda p: p.attribute_string("k", ["a"]), twice)
    assert holds(lambda p: p.attribute_string("k", ["b"]), twice)


def test_keys_that_look_alike_are_told_apart() -> None:
    for key in ("http.route", "http-route", "hxxxxxxxxe"):
        assert holds(lambda p: p.attribute_exists("http.route"), span(**{key: 1})) == (key == "http.route")


def test_attributes_exist_whatever_their_value() -> None:
    for value in (1, 1.5, True, "s", b"b"):
        assert holds(lambda p: p.attribute_exists("k"), span(k=value))
    assert holds(lambda p: p.attribute_exists("k"), Span(attributes=[{"key": "k"}]))
    assert not holds(lambda p: p.attribute_exists("k"), Span())


def test_booleans() -> None:
    for value in (True, False):
        assert holds(lambda p: p.attribute_bool("k", value), span(k=value))  # noqa: B023 - called at once
        assert not holds(lambda p: p.attribute_bool("k", not value), span(k=value))  # noqa: B023 - called at once
    assert not holds(lambda p: p.attribute_bool("k", value=True), span(k=1))


@pytest.mark.parametrize(
    ("minimum", "maximum", "inside", "outside"),
    [
        (500, 599, [500, 599, 500.0, 599.0], [499, 600, 499.999, 599.001, -500]),
        (0.5, 1.5, [1, 0.5, 1.5], [0, 2, 0.4999]),
        (None, 3, [-(2**63), 3, -math.inf], [4, 3.5, math.nan, math.inf]),
        (3, None, [2**63 - 1, 3, math.inf], [2, 2.5, math.nan]),
        (2**63 - 1, None, [2**63 - 1, 2.0**63], [2**63 - 2, 2.0**62]),
        (2**53 + 1, None, [2**53 + 1, 2.0**53 + 2], [2**53, 2.0**53]),
        (None, 2**53 + 1, [2**53 + 1, 2.0**53], [2**53 + 2, 2.0**53 + 2]),
        (None, -(2**63), [-(2**63), -(2.0**63)], [-(2**63) + 1]),
        (2.0**63, None, [2.0**63], [2**63 - 1]),
        (None, -(2.0**64), [-(2.0**64)], [-(2**63)]),
        (10**400, None, [math.inf], [2**63 - 1, 1.7e308]),
        (-(10**400), 10**400, [0, 1.7e308, -1.7e308], [math.inf, -math.inf]),
        (math.inf, None, [math.inf], [2**63 - 1, 1.7e308]),
        (0.2, 0.8, [0.5], [0, 1]),
        (None, None, [0, math.inf, -(2**63)], [math.nan, "1", True]),
        (5, 4, [], [4, 5, 4.5]),
    ],
)  # fmt: skip
def test_numbers(minimum: float | None, maximum: float | None, inside: list[Any], outside: list[Any]) -> None:
    for value in inside + outside:
        held = holds(lambda p: p.attribute_number("k", minimum, maximum), span(k=value))
        assert held == (value in inside), value


def test_places() -> None:
    everywhere = ("resource", "span", "event")
    payloads = {
        "resource": request({"k": "v"}, Span()),
        "span": request({}, span(k="v")),
        "event": request({}, Span(events=[{"attributes": [pair("k", "v")]}])),
    }
    for place, payload in payloads.items():
        assert holds(lambda p: p.attribute_string("k", ["v"]), payload) == (place != "event")
        assert holds(lambda p: p.attribute_exists("k", where=everywhere), payload)
        for only in everywhere:
            assert holds(lambda p: p.attribute_exists("k", where=[only]), payload) == (place == only)  # noqa: B023 - at once


def test_a_resource_behind_its_spans_and_in_two_parts_counts_for_all_of_them() -> None:
    parts = [request({"a": 1}), request({}, Span(), Span()), request({"b": 2})]
    bodies = [part[2:] for part in parts]  # one-byte lengths: the tag and the length
    joined = b"".join(bodies)
    payload = bytes([0x0A, len(joined)]) + joined + request({}, Span())
    probes = Probes()
    probes.attribute_exists("a")
    probes.attribute_exists("b")
    assert scan(payload, probes).matches.tolist() == [3, 3, 0]


def test_patterns_ask_once_for_each_value() -> None:
    asked: list[str] = []

    def matches(text: str) -> bool:
        asked.append(text)
        return text.startswith("é")

    probes = Probes()
    probes.attribute_pattern("k", matches)
    payload = request({}, *[span(k=value) for value in ("é1", "x", "é1", "", "x", "é2", "")])
    for _ in range(3):
        assert scan(payload, probes).matches.tolist() == [1, 0, 1, 0, 0, 1, 0]
    assert asked == ["é1", "x", "", "é2"]


def test_patterns_remember_only_so_many_values() -> None:
    asked: list[str] = []

    def matches(text: str) -> bool:
        asked.append(text)
        return text in {"a", "c"}

    probes = Probes()
    probes.attribute_pattern("k", matches, cache_size=2)
    order = "abacabccaab"
    payload = request({}, *[span(k=value) for value in order])
    assert scan(payload, probes).matches.tolist() == [int(value in "ac") for value in order]
    assert asked == list("abcabcab")  # the oldest of two makes room


def test_long_values_are_asked_about_each_time() -> None:
    asked: list[int] = []
    probes = Probes()
    probes.attribute_pattern("k", lambda text: bool(asked.append(len(text))) or True)
    assert scan(request({}, *[span(k="x" * 5000)] * 2), probes).matches.tolist() == [1, 1]
    assert asked == [5000, 5000]


def test_an_error_in_a_pattern_ends_the_scan_with_that_error() -> None:
    def broken(text: str) -> bool:
        raise LookupError(text)

    probes = Probes()
    probes.attribute_pattern("k", broken)
    with pytest.raises(LookupError):
        scan(request({}, span(k="v")), probes)
    probes.status(2)  # the scan is over, so that conditions may be added again


def test_patterns_from_many_threads() -> None:
    values = [f"user-{n % 50}" for n in range(2000)]
    payload = request({}, *[span(k=value) for value in values])
    expected = [int(value.endswith("7")) for value in values]
    probes = Probes()
    probes.attribute_pattern("k", lambda text: text.endswith("7"), cache_size=16)
    results: list[bool] = []

    def work() -> None:
        results.extend(scan(payload, probes).matches.tolist() == expected for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 40


def test_a_pattern_may_scan_with_the_same_probes() -> None:
    probes = Probes()
    inner = request({}, span(k="in"))
    probes.attribute_pattern("k", lambda text: text == "in" or scan(inner, probes).matches.tolist() == [1])
    assert scan(request({}, span(k="out")), probes).matches.tolist() == [1]


def test_conditions_cannot_be_added_during_a_scan() -> None:
    probes = Probes()
    probes.attribute_pattern("k", lambda _: probes.status(2) > 0)
    with pytest.raises(RuntimeError, match="scan"):
        scan(request({}, span(k="v")), probes)
    assert len(probes) == 1


def test_all_of_on_one_span() -> None:
    probes = Probes()
    failed, tagged = probes.status(2), probes.attribute_exists("k")
    both = probes.all_of([failed, tagged])
    nested = probes.all_of([both, probes.name(["n"])])
    assert (both, nested) == (2, 4)
    spans = [
        Span(status={"code": 2}),
        Span(attributes=[pair("k", 1)]),
        Span(status={"code": 2}, attributes=[pair("k", 1)]),
        Span(status={"code": 2}, attributes=[pair("k", 1)], name="n"),
    ]
    assert scan(request({}, *spans), probes).matches.tolist() == [0b1, 0b10, 0b111, 0b11111]


@pytest.mark.parametrize("bits", [[], [0, 1], [-1], [64]])
def test_all_of_needs_bits_that_were_added_before(bits: list[int]) -> None:
    probes = Probes()
    probes.status(2)
    with pytest.raises(ValueError):
        probes.all_of(bits)
    assert len(probes) == 1


def test_64_conditions_and_not_one_more() -> None:
    probes = Probes()
    for number in range(64):
        assert probes.attribute_exists(f"key-{number}", where=["resource", "span", "event"]) == number
    assert len(probes) == 64
    additions: list[Callable[[], int]] = [
        lambda: probes.status(1), lambda: probes.flags(1), lambda: probes.name(["n"]), lambda: probes.event_name(["n"]),
        lambda: probes.trace_state("k", ["v"]), lambda: probes.attribute_exists("k"), lambda: probes.all_of([1]),
        lambda: probes.attribute_string("k", ["v"]), lambda: probes.attribute_bool("k", value=True),
        lambda: probes.attribute_number("k", 1, 2), lambda: probes.attribute_pattern("k", bool),
    ]  # fmt: skip
    for add in additions:
        with pytest.raises(ValueError, match="64"):
            add()
    payload = request({"key-0": 1}, span(**{"key-63": 1}), Span(events=[{"attributes": [pair("key-31", 1)]}]))
    assert scan(payload, probes).matches.tolist() == [1 | 1 << 63, 1 | 1 << 31]


def test_wrong_arguments_change_nothing() -> None:
    probes = Probes()
    wrong: list[Callable[[], int]] = [
        lambda: probes.attribute_exists("k", where=[]),
        lambda: probes.attribute_exists("k", where=["trace"]),  # type: ignore[list-item] # on purpose
        lambda: probes.attribute_exists("k", where="span"),  # type: ignore[arg-type] # on purpose
        lambda: probes.attribute_exists("\ud800"),
        lambda: probes.attribute_pattern("\ud800", bool),
        lambda: probes.attribute_pattern("k", bool, cache_size=0),
        lambda: probes.attribute_pattern("k", None),  # type: ignore[arg-type] # on purpose
        lambda: probes.attribute_number("k", math.nan, None),
        lambda: probes.name(["\ud800"]),
    ]
    for add in wrong:
        with pytest.raises(ValueError):
            add()
    for strings in (lambda: probes.name("GET"), lambda: probes.attribute_string("k", "v")):
        with pytest.raises(TypeError):
            strings()
    assert len(probes) == 0
    assert scan(request({}, span(k="v")), probes).matches.tolist() == [0]


@pytest.mark.parametrize(
    "damage", [b"\x4a\x02\x0a\x05", b"\x4a\x03\x0a\x01k\x4a\x01\x0e", b"\x5a\x02\x12\x09", b"\x5a\x03\x1a\x01\x0a"]
)
def test_broken_attributes_are_refused_and_never_read_past(damage: bytes) -> None:
    probes = Probes()
    probes.attribute_exists("k", where=["span", "event"])
    body = bytes([0x12, len(damage)]) + damage
    payload = bytes([0x0A, len(body) + 2, 0x12, len(body)]) + body
    with pytest.raises(Malformed):
        scan(payload, probes)


def test_probes_alone_are_taken() -> None:
    with pytest.raises(TypeError):
        scan(b"", object())  # type: ignore[arg-type] # on purpose
