"""The edges of `select`, `replace_spans` and `sample`; the rest is in test_rewrite_against_protobuf.py."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.wire import UNKNOWN_THRESHOLD, Malformed, rewrite, scan

TEN_PERCENT = 0xE6660000000000


def request(*groups: tuple[int, ...]) -> ExportTraceServiceRequest:
    """One ResourceSpans a tuple, one ScopeSpans a number in it, with so many spans."""
    made = ExportTraceServiceRequest()
    row = 0
    for spans_of in groups:
        resource = made.resource_spans.add(schema_url=f"resource {len(made.resource_spans)}")
        for count in spans_of:
            scope = resource.scope_spans.add(schema_url=f"scope {len(resource.scope_spans)}")
            for _ in range(count):
                scope.spans.add(name=f"span {row}", trace_id=bytes([row % 255 + 1]) * 16)
                row += 1
    return made


def rows(*kept: bool) -> np.ndarray:
    return np.array(kept, np.bool_)


def names(payload: bytes) -> list[list[list[str]]]:
    return [
        [[span.name for span in scope.spans] for scope in resource.scope_spans]
        for resource in ExportTraceServiceRequest.FromString(payload).resource_spans
    ]


def test_groups_without_kept_spans_disappear() -> None:
    payload = request((2, 1), (1,), (0, 1)).SerializeToString()
    index = scan(payload)
    assert names(rewrite.select(payload, index, rows(False, True, False, False, True))) == [[["span 1"]], [["span 4"]]]
    assert rewrite.select(payload, index, rows(*[False] * 5)) == b""
    assert names(rewrite.select(payload, index, rows(*[True] * 5)))[2] == [["span 4"]]


def test_a_long_group_gets_a_longer_length_than_one_byte() -> None:
    payload = request((400,), (3,)).SerializeToString()
    index = scan(payload)
    assert rewrite.select(payload, index, np.ones(403, np.bool_)) == payload


def test_no_spans_at_all() -> None:
    index = scan(b"")
    assert rewrite.select(b"", index, rows()) == b""
    assert rewrite.sample(b"", index, rows(), np.zeros(0, np.uint64)) == b""
    assert rewrite.replace_spans(b"", index, {}) == b""


def test_a_mask_that_is_a_view_of_every_other_byte() -> None:
    payload = request((4,)).SerializeToString()
    mask = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.bool_)[::2]
    assert names(rewrite.select(payload, scan(payload), mask)) == [[["span 0", "span 2"]]]


@pytest.mark.parametrize(
    ("threshold", "field"),
    [
        (TEN_PERCENT, b"\x1a\x0aot=th:e666"),
        (0, b"\x1a\x07ot=th:0"),
        (1, b"\x1a\x14ot=th:00000000000001"),
        (0xFFFFFFFFFFFFFF, b"\x1a\x14ot=th:ffffffffffffff"),
        (0x10000000000000, b"\x1a\x07ot=th:1"),
        (UNKNOWN_THRESHOLD, b""),
    ],
)
def test_a_span_without_tracestate_gets_one_field(threshold: int, field: bytes) -> None:
    payload = request((1,)).SerializeToString()
    index = scan(payload)
    sampled = rewrite.sample(payload, index, rows(True), np.array([threshold], np.uint64))
    body = payload[index.offset[0] : index.offset[0] + index.length[0]] + field
    again = scan(sampled)
    assert sampled[again.offset[0] : again.offset[0] + again.length[0]] == body


@pytest.mark.parametrize(
    ("before", "threshold", "after"),
    [
        ("ot=th:8", TEN_PERCENT, "ot=th:e666"),
        ("ot=th:f", TEN_PERCENT, "ot=th:f"),
        ("ot=th:E666", TEN_PERCENT, "ot=th:E666"),
        ("ot=rv:0123456789abcd;th:8", TEN_PERCENT, "ot=th:e666;rv:0123456789abcd"),
        ("a=1,ot=th:8;p:3,b=2", TEN_PERCENT, "ot=th:e666;p:3,a=1,b=2"),
        ("a=1, b=2", 0, "ot=th:0,a=1,b=2"),
        ("ot=th:8", UNKNOWN_THRESHOLD, ""),
        ("a=1,ot=th:8", UNKNOWN_THRESHOLD, "a=1"),
        ("a=1,ot=th:8;rv:0123456789abcd", UNKNOWN_THRESHOLD, "ot=rv:0123456789abcd,a=1"),
        ("a=1,ot=rv:0123456789abcd", UNKNOWN_THRESHOLD, "a=1,ot=rv:0123456789abcd"),
        ("ot=th:nonsense", TEN_PERCENT, "ot=th:e666"),
        ("ot=rv:short", TEN_PERCENT, "ot=th:e666;rv:short"),
        ("not a tracestate", TEN_PERCENT, "not a tracestate"),
        ("ot=th:8;th:9", TEN_PERCENT, "ot=th:8;th:9"),
        ("ot=x:" + "v" * 254, TEN_PERCENT, "ot=x:" + "v" * 254),
        ("ot=x:" + "v" * 245, TEN_PERCENT, "ot=th:e666;x:" + "v" * 245),
        ("ot=x:" + "v" * 247, TEN_PERCENT, "ot=x:" + "v" * 247),
        (
            ",".join(f"k{n}=v" for n in range(32)),
            TEN_PERCENT,
            "ot=th:e666," + ",".join(f"k{n}=v" for n in range(31)),
        ),
    ],
)
def test_tracestates(before: str, threshold: int, after: str) -> None:
    made = request((1,))
    made.resource_spans[0].scope_spans[0].spans[0].trace_state = before
    payload = made.SerializeToString()
    sampled = rewrite.sample(payload, scan(payload), rows(True), np.array([threshold], np.uint64))
    span = ExportTraceServiceRequest.FromString(sampled).resource_spans[0].scope_spans[0].spans[0]
    assert span.trace_state == after
    assert span.trace_id == b"\x01" * 16


def test_of_a_repeated_tracestate_the_last_counts() -> None:
    span = Span(trace_state="ot=th:f").SerializeToString() + Span(trace_state="ot=th:8").SerializeToString()
    scope = b"\x12" + bytes([len(span)]) + span
    resource = b"\x12" + bytes([len(scope)]) + scope
    payload = b"\x0a" + bytes([len(resource)]) + resource
    for threshold, after in ((TEN_PERCENT, "ot=th:e666"), (UNKNOWN_THRESHOLD, "")):
        sampled = rewrite.sample(payload, scan(payload), rows(True), np.array([threshold], np.uint64))
        parsed = ExportTraceServiceRequest.FromString(sampled)
        assert parsed.resource_spans[0].scope_spans[0].spans[0].trace_state == after


def test_arguments_that_do_not_fit_are_refused() -> None:
    payload = request((2,)).SerializeToString()
    index = scan(payload)
    both, limits = rows(True, True), np.zeros(2, np.uint64)
    with pytest.raises(ValueError, match="mask"):
        rewrite.select(payload, index, rows(True))
    with pytest.raises(ValueError, match="mask"):
        rewrite.replace_spans(payload, index, {}, rows(True))
    with pytest.raises(ValueError, match="thresholds"):
        rewrite.sample(payload, index, both, limits[:1])
    with pytest.raises(ValueError, match="56 bits"):
        rewrite.sample(payload, index, both, np.array([0, 1 << 56], np.uint64))
    with pytest.raises(ValueError, match="suffix"):
        rewrite.sample(payload, index, both, limits, [b""], np.zeros(3, np.int16))
    with pytest.raises(ValueError, match="suffix"):
        rewrite.sample(payload, index, both, limits, [b""], np.array([0, 1], np.int16))
    for row in (-1, 2):
        with pytest.raises(ValueError, match="row"):
            rewrite.replace_spans(payload, index, {row: b""})
    with pytest.raises(TypeError):
        rewrite.replace_spans(payload, index, {0: "text"})  # type: ignore[dict-item] - that is the test


def test_an_index_of_another_payload_is_refused() -> None:
    payload = request((2,)).SerializeToString()
    for other in (request((1,)), request((3,))):
        index = scan(other.SerializeToString())
        with pytest.raises(ValueError, match="index"):
            rewrite.select(payload, index, np.ones(index.count, np.bool_))


def test_bytes_cut_anywhere_are_refused_or_empty() -> None:
    payload = request((2, 1), (1,)).SerializeToString()
    index = SimpleNamespace(count=4)
    for end in range(len(payload)):
        with pytest.raises((Malformed, ValueError)):
            rewrite.select(payload[:end], index, np.ones(4, np.bool_))  # type: ignore[arg-type] - only its count is read


def test_a_span_that_is_not_protobuf_is_refused_when_it_is_looked_into() -> None:
    payload = b"\x0a\x06\x12\x04\x12\x02\x0a\x7f"
    index = SimpleNamespace(count=1)
    with pytest.raises(Malformed):
        rewrite.sample(payload, index, rows(True), np.zeros(1, np.uint64))  # type: ignore[arg-type] - as above


def test_sampling_costs_little_beside_a_parse() -> None:
    payload = request((2000,)).SerializeToString()
    index = scan(payload)
    mask = np.arange(2000) % 10 == 0
    thresholds = np.full(2000, TEN_PERCENT, np.uint64)

    def best(work: object) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    sampled = best(lambda: rewrite.sample(payload, index, mask, thresholds))
    assert sampled < best(lambda: ExportTraceServiceRequest.FromString(payload)) / 3
