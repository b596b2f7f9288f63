"""A view reads what protobuf reads, and its edits do what the same edits do to a protobuf object."""

from __future__ import annotations

from random import Random
from typing import Any

from attribute_values import as_dict, delete_places, random_value, set_attribute, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_messages import TEXTS, canonical, random_request, untidy

from collector.wire import Malformed, validate
from collector.wire.view import SpanView, views

seeds = given(seed=st.integers(0, 2**48))


def spans_and_views(rnd: Random) -> list[tuple[Span, Any, SpanView]]:
    payload = untidy(rnd, random_request(rnd, "traces"))
    request = ExportTraceServiceRequest.FromString(payload)
    spans = [
        (span, resource.resource)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    made = views(payload, validate(payload))
    return [(span, resource, view) for (span, resource), view in zip(spans, made, strict=True)]


@seeds
@settings(max_examples=200, deadline=None)
def test_reads_what_protobuf_reads(seed: int) -> None:
    for row, (span, resource, view) in enumerate(spans_and_views(Random(seed))):
        assert view.row == row
        assert (view.trace_id, view.span_id, view.parent_span_id) == (span.trace_id, span.span_id, span.parent_span_id)
        assert (view.name, view.trace_state, view.kind) == (span.name, span.trace_state, span.kind)
        assert (view.status_code, view.status_message) == (span.status.code, span.status.message)
        assert view.start_time_unix_nano == span.start_time_unix_nano
        assert view.end_time_unix_nano == span.end_time_unix_nano
        assert view.event_names == [event.name for event in span.events]
        assert shown(dict(view.attributes.items())) == shown(as_dict(span.attributes))
        assert len(view.attributes) == len(as_dict(span.attributes))
        for key, value in as_dict(span.attributes).items():
            assert shown(view.attributes[key]) == shown(value)
        assert shown(dict(view.resource)) == shown(as_dict(resource.attributes))
        assert not view.changed
        assert canonical(Span.FromString(view.to_bytes())) == canonical(span)


def edit(rnd: Random, span: Span, view: SpanView) -> None:
    action = rnd.choice(("set", "set", "delete", "name", "trace_state", "kind", "code", "message"))
    keys = [one.key for one in span.attributes]
    if action == "set":
        key, value = rnd.choice([*keys, "new", "other"]), random_value(rnd)
        view.attributes[key] = value
        set_attribute(span, key, value)
        assert shown(view.attributes[key]) == shown(value)
    elif action == "delete" and keys:
        key = rnd.choice(keys)
        del view.attributes[key]
        delete_places(span, [i for i, one in enumerate(span.attributes) if one.key == key])
        assert key not in view.attributes
    elif action == "name":
        view.name = span.name = rnd.choice(TEXTS)
    elif action == "trace_state":
        view.trace_state = span.trace_state = rnd.choice(TEXTS)
    elif action == "kind":
        view.kind = span.kind = rnd.choice((0, 3, -1, 2**31 - 1))
    elif action == "code":
        view.status_code = span.status.code = rnd.choice((0, 2, -1))
    elif action == "message":
        view.status_message = span.status.message = rnd.choice(TEXTS)


@seeds
@settings(max_examples=300, deadline=None)
def test_edits_do_what_they_do_to_protobuf(seed: int) -> None:
    rnd = Random(seed)
    for span, _resource, view in spans_and_views(rnd):
        for _ in range(rnd.randrange(4)):
            edit(rnd, span, view)
        assert canonical(Span.FromString(view.to_bytes())) == canonical(span)
        assert list(view.attributes) == list(as_dict(span.attributes))


@seeds
@settings(max_examples=200, deadline=None)
def test_what_was_not_changed_keeps_its_bytes(seed: int) -> None:
    rnd = Random(seed)
    for _span, _resource, view in spans_and_views(rnd):
        before = view.to_bytes()
        view.attributes["a key that nobody has"] = "v"
        added = b"\x4a\x1c\x0a\x15a key that nobody has\x12\x03\x0a\x01v"
        assert view.to_bytes() == before + added


@seeds
@settings(max_examples=300, deadline=None)
def test_damaged_spans_are_read_or_refused_and_nothing_else(seed: int) -> None:
    rnd = Random(seed)
    payload = bytearray(untidy(rnd, random_request(rnd, "traces")))
    index = validate(bytes(payload))
    for _ in range(8):
        payload[rnd.randrange(len(payload))] = rnd.randrange(256)
    for view in views(bytes(payload), index):
        for read in (
            lambda view=view: (view.name, view.kind, view.status_code, view.status_message, view.event_names),
            lambda view=view: dict(view.attributes.items()),
            lambda view=view: view.attributes.update(a=1),
            view.to_bytes,
        ):
            try:
                read()
            except Malformed:
                continue
