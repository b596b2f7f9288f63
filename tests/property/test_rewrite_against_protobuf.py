"""Selecting, patching and sampling on the bytes does what the same would do on protobuf objects."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_messages import canonical, random_request, untidy

from collector.wire import UNKNOWN_THRESHOLD, rewrite, validate

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = re.compile(r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}")
VALUE = re.compile(r"[ -+\--<>-~]{0,255}[!-+\--<>-~]")
SUB = re.compile(r"([a-z][a-z0-9]*):([A-Za-z0-9._\-]*)")
MEMBERS = (
    "ot=th:8", "ot=th:e666;rv:0123456789abcd", "ot=rv:0123456789abcd", "ot=p:8;r:62", "ot=th:", "ot=th:xyz;k:v",
    "ot=th:0", "ot=th:E666", "ot=th:123456789abcdef", "ot=th:8;th:4", "ot=", "ot=;", "ot=th", "ot=th:8;", "ot=K:v",
    "ot=k:" + "v" * 254, "ot=k:" + "v" * 245, "ot=k:" + "v" * 246 + ";th:8", "ot=k:*", "ot= th:8",
    "a=1", "b=x y", "vendor@sys=1", "1ab@x=1", "1ab=1", "@x=1", "t@=1", "a@b@c=1", "A=1", "=x", "x", "a==", "",
    "k=" + "v" * 256, "k=" + "v" * 257, "t@" + "s" * 14 + "=1", "t@" + "s" * 15 + "=1",
    "k" * 256 + "=1", "k" * 257 + "=1",
    " c=1\t", "d= 1", "é=1", "e=é",
)  # fmt: skip
THRESHOLDS = (0, 1, 0x80000000000000, 0xE6660000000000, 0xFFFFFFFFFFFFFF, 0x10000000000000, UNKNOWN_THRESHOLD)


def model_th(threshold: int) -> str:
    return f"{threshold:014x}".rstrip("0") or "0"


def model_state(state: str, threshold: int) -> str:
    """The tracestate after a decision with this threshold, as rewrite.pyi says."""
    known = threshold != UNKNOWN_THRESHOLD
    members = [member for member in (part.strip(" \t") for part in state.split(",")) if member]
    own = [member for member in members if member.startswith("ot=")]
    others = [member for member in members if not member.startswith("ot=")]
    for member in members:
        key, equals, value = member.partition("=")
        if not (equals and KEY.fullmatch(key) and VALUE.fullmatch(value)):
            return state
    if len(members) > 32 or len(own) > 1:
        return state
    subs = [SUB.fullmatch(sub) for sub in own[0][3:].split(";")] if own else []
    if any(sub is None for sub in subs):
        return state
    pairs = [(sub[1], sub[2]) for sub in subs if sub is not None]
    incoming = [value for key, value in pairs if key == "th"]
    if len(incoming) > 1 or not (known or incoming):
        return state
    valid = bool(incoming) and re.fullmatch("[0-9a-fA-F]{1,14}", incoming[0]) is not None
    if known and valid and int(incoming[0].ljust(14, "0"), 16) >= threshold:
        return state
    new = ([f"th:{model_th(threshold)}"] if known else []) + [f"{k}:{v}" for k, v in pairs if k != "th"]
    if len(";".join(new)) > 256:
        return state
    if not own:
        others = others[:31]
    return ",".join(([f"ot={';'.join(new)}"] if new else []) + others)


def model(
    payload: bytes, mask: list[bool], change: Callable[[int, Span], None] = lambda _row, _span: None
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest.FromString(payload)
    row = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            kept = []
            for span in scope.spans:
                if mask[row]:
                    change(row, span)
                    kept.append(span)
                row += 1
            spans = [Span.FromString(span.SerializeToString()) for span in kept]
            del scope.spans[:]
            scope.spans.extend(spans)
        with_spans = [scope for scope in resource.scope_spans if scope.spans]
        replace(resource.scope_spans, with_spans)
    replace(request.resource_spans, [resource for resource in request.resource_spans if resource.scope_spans])
    return request


def replace(container: object, messages: list) -> None:
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del container[:]
    container.extend(copies)


def same(payload: bytes, expected: ExportTraceServiceRequest) -> bool:
    validate(payload)
    return canonical(ExportTraceServiceRequest.FromString(payload)) == canonical(expected)


seeds = given(seed=st.integers(0, 2**48))


@seeds
@settings(max_examples=200, deadline=None)
def test_select(seed: int) -> None:
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, "traces"))
    index = validate(payload)
    share = rnd.choice((0.1, 0.5, 1.0, 0.0))
    mask = [rnd.random() < share for _ in range(index.count)]
    assert same(rewrite.select(payload, index, np.array(mask, np.bool_)), model(payload, mask))


@seeds
@settings(max_examples=150, deadline=None)
def test_replace_spans(seed: int) -> None:
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, "traces"))
    index = validate(payload)
    mask = [rnd.random() < 0.7 for _ in range(index.count)]
    new = {row: Span(name=f"edited {row}") for row in range(index.count) if rnd.random() < 0.4}

    def change(row: int, span: Span) -> None:
        if row in new:
            span.Clear()
            span.MergeFrom(new[row])

    edits = {row: span.SerializeToString() for row, span in new.items()}
    assert same(rewrite.replace_spans(payload, index, edits, np.array(mask, np.bool_)), model(payload, mask, change))
    assert same(rewrite.replace_spans(payload, index, edits), model(payload, [True] * index.count, change))


def random_state(rnd: Random) -> str:
    if rnd.random() < 0.3:
        members = [f"k{i}=v" for i in range(rnd.choice((30, 31, 32, 33)))]
        if rnd.random() < 0.6:
            members.insert(rnd.randrange(len(members)), rnd.choice(MEMBERS[:4]))
        return ",".join(members)
    good = rnd.random() < 0.5
    pool = ("ot=th:8;rv:0123456789abcd", "a=1", "b=x y", "vendor@sys=1", "", " c=1\t") if good else MEMBERS
    return ",".join(rnd.choice(pool) for _ in range(rnd.randrange(5)))


@seeds
@settings(max_examples=400, deadline=None)
@example(seed=0)
def test_sample(seed: int) -> None:
    rnd = Random(seed)
    request = random_request(rnd, "traces")
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.trace_state = random_state(rnd)
    payload = untidy(rnd, request)
    index = validate(payload)
    mask = [rnd.random() < 0.8 for _ in range(index.count)]
    thresholds = [rnd.choice(THRESHOLDS) for _ in range(index.count)]
    suffixes = [Span(dropped_links_count=n).SerializeToString() for n in (7, 8)]
    suffix = [rnd.randrange(-1, 2) for _ in range(index.count)]

    def change(row: int, span: Span) -> None:
        span.trace_state = model_state(span.trace_state, thresholds[row])
        if suffix[row] >= 0:
            span.MergeFromString(suffixes[suffix[row]])

    sampled = rewrite.sample(
        payload,
        index,
        np.array(mask, np.bool_),
        np.array(thresholds, np.uint64),
        suffixes,
        np.array(suffix, np.int16),
    )
    assert same(sampled, model(payload, mask, change))


@given(
    state=st.lists(st.sampled_from(MEMBERS), max_size=4).map(",".join) | st.text("ot=h:;,0aA \t@", max_size=20),
    threshold=st.sampled_from(THRESHOLDS),
)
@settings(max_examples=1500, deadline=None)
def test_every_tracestate(state: str, threshold: int) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_state=state, name="n")
    payload = request.SerializeToString()
    sampled = rewrite.sample(payload, validate(payload), np.ones(1, np.bool_), np.array([threshold], np.uint64))
    span = ExportTraceServiceRequest.FromString(sampled).resource_spans[0].scope_spans[0].spans[0]
    assert span.trace_state == model_state(state, threshold)
    assert span.name == "n"
