"""What protobuf itself makes of a request: the truth that the compiled scanner must agree with, field by field."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.wire.scan import BAD_SPAN_ID, BAD_TRACE_ID, Malformed, Probes, SpanIndex, scan, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = (
    "trace_hi", "trace_lo", "span_id", "parent_id", "start", "end", "kind", "status", "flags", "defects", "resource",
    "scope",
)  # fmt: skip
ANY_DEPTH = 100  # no tighter than protobuf's own limit, so that the two must agree everywhere


def parse(payload: bytes) -> ExportTraceServiceRequest | None:
    try:
        return ExportTraceServiceRequest.FromString(payload)
    except DecodeError:
        return None


def accepted(payload: bytes) -> SpanIndex | None:
    try:
        return validate(payload, max_depth=ANY_DEPTH)
    except Malformed:
        return None


def spans(request: ExportTraceServiceRequest) -> Iterator[tuple[int, int, Any, Any]]:
    scope = 0
    for resource, of_resource in enumerate(request.resource_spans):
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield resource, scope, of_resource.resource, span
            scope += 1


def identity(raw: bytes, size: int) -> int:
    return int.from_bytes(raw, "big") if len(raw) == size else 0


def row(resource: int, scope: int, span: Span) -> tuple[int, ...]:
    trace = identity(span.trace_id, 16)
    span_id = identity(span.span_id, 8)
    defects = (0 if trace else BAD_TRACE_ID) | (0 if span_id else BAD_SPAN_ID)
    return (
        trace >> 64, trace & 2**64 - 1, span_id, identity(span.parent_span_id, 8), span.start_time_unix_nano,
        span.end_time_unix_nano, span.kind, span.status.code, span.flags, defects, resource, scope,
    )  # fmt: skip


def same_span(body: bytes, span: Span) -> bool:
    """Compared as bytes: a NaN differs from itself."""
    return Span.FromString(body).SerializeToString(deterministic=True) == span.SerializeToString(deterministic=True)


def check(payload: bytes, probes: Probes | None = None) -> bool:
    """Raises AssertionError where the scanner and protobuf differ; returns whether they accept."""
    request = parse(payload)
    index = accepted(payload)
    assert (request is None) == (index is None), "accepted by one of the two alone"
    if request is None or index is None:
        with suppress(Malformed):  # it trusts its input, so it may take more; it must only stay within it
            scan(payload, probes)
        return False
    truth = list(spans(request))
    for found in (index, scan(payload), scan(payload, probes)):
        assert found.count == len(truth)
        rows = list(zip(*(getattr(found, name).tolist() for name in COLUMNS), strict=True))
        assert rows == [row(resource, scope, span) for resource, scope, _, span in truth]
        assert np.array_equal(found.offset, index.offset)
        assert np.array_equal(found.length, index.length)
    for begin, size, (_, _, _, span) in zip(index.offset.tolist(), index.length.tolist(), truth, strict=True):
        assert same_span(payload[begin : begin + size], span)
    if probes is not None:
        expected = [matches(resource, span) for _, _, resource, span in truth]
        assert scan(payload, probes).matches.tolist() == expected
    return True


def value_of(pair: Any) -> object:
    kind = pair.value.WhichOneof("value")
    return None if kind is None else (kind, getattr(pair.value, kind))


def state_values(text: str, key: str) -> list[str]:
    members = [member.strip(" \t") for member in text.split(",")]
    return [member[len(key) + 1 :] for member in members if member.startswith(key + "=")]


def standard_probes() -> Probes:
    """The conditions that `matches` evaluates with protobuf objects; bit for bit the same order."""
    probes = Probes()
    everywhere = ("resource", "span", "event")
    probes.status(2)
    probes.flags(0x100)
    probes.name(["a"], prefixes=["GET "], suffixes=["é"])
    probes.event_name(["http.route", ""], prefixes=["x"])
    probes.trace_state("k", ["v", ""])
    probes.attribute_exists("service.name")
    probes.attribute_exists("", where=["event"])
    probes.attribute_string("peer", ["a", "x" * 140, ""], where=everywhere)
    probes.attribute_pattern(
        "user.id", lambda text: re.search("[aeiü]", text) is not None, cache_size=2, where=everywhere
    )
    probes.attribute_number("http.status_code", 2, 127.0)
    probes.attribute_number("http.status_code", None, -1, where=["span", "event"])
    probes.attribute_bool("error", value=True)
    probes.attribute_bool("error", value=False, where=["resource"])
    probes.attribute_exists("k", where=["span"])
    probes.all_of([5, 13])
    probes.all_of([14, 0])
    return probes


def matches(resource: Any, span: Span) -> int:
    """The bits of `standard_probes` for a span, the slow and obvious way."""
    of_resource = [(pair.key, value_of(pair)) for pair in resource.attributes]
    of_span = [(pair.key, value_of(pair)) for pair in span.attributes]
    of_events = [(pair.key, value_of(pair)) for event in span.events for pair in event.attributes]
    both, everywhere = of_resource + of_span, of_resource + of_span + of_events

    def within(value: object, least: float, most: float) -> bool:
        return isinstance(value, tuple) and value[0] in {"int_value", "double_value"} and least <= value[1] <= most

    def texts(pairs: list[tuple[str, Any]], key: str) -> list[str]:
        return [value[1] for name, value in pairs if name == key and value is not None and value[0] == "string_value"]

    bits = [
        span.status.code == 2,
        span.flags & 0x100 != 0,
        span.name == "a" or span.name.startswith("GET ") or span.name.endswith("é"),
        any(event.name in {"http.route", ""} or event.name.startswith("x") for event in span.events),
        any(value in {"v", ""} for value in state_values(span.trace_state, "k")),
        any(name == "service.name" for name, _ in both),
        any(name == "" for name, _ in of_events),
        any(text in {"a", "x" * 140, ""} for text in texts(everywhere, "peer")),
        any(re.search("[aeiü]", text) for text in texts(everywhere, "user.id")),
        any(name == "http.status_code" and within(value, 2, 127) for name, value in both),
        any(name == "http.status_code" and within(value, -struct.unpack("<d", b"\0" * 6 + b"\xf0\x7f")[0], -1)
            for name, value in of_span + of_events),
        any(name == "error" and value == ("bool_value", True) for name, value in both),
        any(name == "error" and value == ("bool_value", False) for name, value in of_resource),
        any(name == "k" for name, _ in of_span),
    ]  # fmt: skip
    bits.append(bits[5] and bits[13])
    bits.append(bits[14] and bits[0])
    return sum(1 << number for number, bit in enumerate(bits) if bit)
