"""`SpanView` and `Attributes` by example; tests/property/test_view_against_protobuf.py has the rest."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.wire import Malformed, scan
from collector.wire.view import Attributes, SpanView, views


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def request() -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for service in ("api", "worker"):
        resource = made.resource_spans.add()
        resource.resource.attributes.append(text("service.name", service))
        scope = resource.scope_spans.add()
        for number in range(2):
            span = scope.spans.add(name=f"{service} {number}", kind=2, span_id=b"12345678", trace_id=bytes(range(16)))
            span.attributes.extend([text("http.route", f"/{number}"), text("user", "u")])
            span.attributes.add(key="size").value.int_value = number
            span.events.add(name="retry")
            span.status.code = Status.STATUS_CODE_ERROR
            span.status.message = "no"
    return made


def all_views() -> list[SpanView]:
    payload = request().SerializeToString()
    return views(payload, scan(payload))


def written(view: SpanView) -> Span:
    return Span.FromString(view.to_bytes())


def test_reading() -> None:
    view = all_views()[3]
    assert view.row == 3
    assert (view.name, view.kind, view.status_code, view.status_message) == ("worker 1", 2, 2, "no")
    assert (view.trace_id, view.span_id, view.parent_span_id) == (bytes(range(16)), b"12345678", b"")
    assert view.event_names == ["retry"]
    assert view.attributes == {"http.route": "/1", "user": "u", "size": 1}
    assert view.attributes.get("nothing") is None
    assert view.attributes.get("nothing", 7) == 7
    assert "user" in view.attributes
    assert 5 not in view.attributes  # type: ignore[comparison-overlap] - that is the test
    assert "\ud800" not in view.attributes
    assert isinstance(view.attributes, MutableMapping)
    assert view.attributes is view.attributes
    assert "worker" not in repr(view) + repr(view.attributes)


def test_the_mask_chooses_rows() -> None:
    payload = request().SerializeToString()
    chosen = views(payload, scan(payload), np.array([False, True, False, True]))
    assert [view.row for view in chosen] == [1, 3]
    assert [view.name for view in chosen] == ["api 1", "worker 1"]


def test_the_resource_is_shared_and_read_only() -> None:
    first, second, third, _ = all_views()
    assert first.resource is second.resource
    assert first.resource == {"service.name": "api"}
    assert third.resource == {"service.name": "worker"}
    with pytest.raises(TypeError, match="read-only"):
        first.resource["x"] = 1
    with pytest.raises(TypeError, match="read-only"):
        del first.resource["service.name"]


def with_resources(*resources: bytes) -> bytes:
    made = ExportTraceServiceRequest()
    made.resource_spans.add().scope_spans.add().spans.add(name="n")
    body = made.resource_spans[0].SerializeToString() + b"".join(resources)
    return b"\x0a" + bytes([len(body)]) + body


def test_a_repeated_resource_is_one() -> None:
    payload = with_resources(
        b"\x0a\x0b\x0a\x09\x0a\x01k\x12\x04\x0a\x02v1", b"\x0a\x0b\x0a\x09\x0a\x01x\x12\x04\x0a\x02v2"
    )
    assert views(payload, scan(payload))[0].resource == {"k": "v1", "x": "v2"}


def test_a_resource_with_a_cut_off_value_is_refused() -> None:
    payload = with_resources(b"\x0a\x08\x0a\x06\x0a\x01k\x12\x01\x12")
    with pytest.raises(Malformed):
        dict(views(payload, scan(payload))[0].resource)


def test_nothing_changed_means_the_very_bytes() -> None:
    payload = request().SerializeToString()
    index = scan(payload)
    view = views(payload, index)[1]
    assert not view.changed
    assert view.to_bytes() == payload[index.offset[1] : index.offset[1] + index.length[1]]
    assert view.attributes.get("user") == "u"
    assert not view.changed


def test_changes_are_seen_and_written() -> None:
    view = all_views()[0]
    before = written(view)
    view.name, view.kind, view.status_code, view.status_message, view.trace_state = "new", 0, 0, "", "a=1"
    view.attributes["http.route"] = "/new"
    view.attributes["added"] = {"list": [1, 2.5, True, None, b"\x00", {"deep": "x"}]}
    del view.attributes["user"]
    assert view.changed
    assert (view.name, view.kind, view.status_code, view.status_message, view.trace_state) == ("new", 0, 0, "", "a=1")
    assert list(view.attributes) == ["http.route", "size", "added"]
    after = written(view)
    assert [one.key for one in after.attributes] == ["http.route", "size", "added"]
    assert (after.name, after.kind, after.trace_state) == ("new", 0, "a=1")
    assert after.status == Status()
    assert after.HasField("status")
    assert after.events == before.events
    assert views_of(after).attributes["added"] == {"list": [1, 2.5, True, None, b"\x00", {"deep": "x"}]}


def views_of(span: Span) -> SpanView:
    made = ExportTraceServiceRequest()
    made.resource_spans.add().scope_spans.add().spans.append(span)
    payload = made.SerializeToString()
    return views(payload, scan(payload))[0]


def test_the_mapping_does_all_that_a_dict_does() -> None:
    attributes = all_views()[0].attributes
    assert attributes.pop("user") == "u"
    assert attributes.setdefault("size", 9) == 0
    assert attributes.setdefault("other", 9) == 9
    attributes.update({"a": 1, "b": 2})
    assert dict(attributes.items()) == {"http.route": "/0", "size": 0, "other": 9, "a": 1, "b": 2}
    del attributes["a"]
    with pytest.raises(KeyError):
        del attributes["a"]
    with pytest.raises(KeyError):
        attributes["user"]
    attributes.clear()
    assert len(attributes) == 0
    attributes["user"] = "again"
    assert dict(attributes) == {"user": "again"}


def test_of_repeated_keys_the_last_counts_and_a_change_leaves_one() -> None:
    view = views_of(Span(attributes=[text("k", "1"), text("x", "x"), text("k", "2")]))
    assert view.attributes["k"] == "2"
    assert list(view.attributes) == ["k", "x"]
    view.attributes["k"] = "3"
    assert [(one.key, one.value.string_value) for one in written(view).attributes] == [("k", "3"), ("x", "x")]
    del view.attributes["k"]
    assert [one.key for one in written(view).attributes] == ["x"]


def test_a_returned_list_is_a_copy() -> None:
    view = all_views()[0]
    view.attributes["list"] = [1]
    view.attributes["list"].append(2)
    assert view.attributes["list"] == [1]


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), ({1: 2}, TypeError), ({"a": {1}}, TypeError), (2**63, ValueError),
     (-(2**63) - 1, ValueError), ("\ud800", ValueError), ([["\ud800"]], ValueError)],
)  # fmt: skip
def test_values_that_an_attribute_cannot_hold(value: Any, error: type[Exception]) -> None:
    view = all_views()[0]
    with pytest.raises(error):
        view.attributes["k"] = value
    assert not view.changed


def test_a_list_in_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="deep"):
        all_views()[0].attributes["k"] = endless


def test_keys_and_fields_of_the_wrong_type() -> None:
    view = all_views()[0]
    with pytest.raises(TypeError):
        view.attributes[1] = "x"  # type: ignore[index] - that is the test
    with pytest.raises(UnicodeEncodeError):
        view.attributes["\ud800"] = "x"
    with pytest.raises(UnicodeEncodeError):
        view.name = "\ud800"
    for name, value, error in (
        ("name", 1, TypeError),
        ("trace_state", b"x", TypeError),
        ("status_message", None, TypeError),
        ("kind", "2", TypeError),
        ("kind", True, TypeError),
        ("status_code", 2**31, ValueError),
        ("kind", -(2**31) - 1, ValueError),
        ("span_id", b"x", AttributeError),
    ):
        with pytest.raises(error):
            setattr(view, name, value)
    assert not view.changed


def test_views_and_attributes_are_made_by_views_alone() -> None:
    with pytest.raises(TypeError):
        SpanView()
    assert len(Attributes()) == 0


def test_an_index_of_another_payload_is_refused() -> None:
    payload = request().SerializeToString()
    index = scan(payload)
    with pytest.raises(ValueError, match="index"):
        views(payload[:40], index)
    with pytest.raises(ValueError, match="mask"):
        views(payload, index, np.ones(3, np.bool_))
    other = SimpleNamespace(
        offset=index.offset, length=index.length, resource=np.full(index.count, 2, np.uint32), count=index.count
    )
    with pytest.raises(ValueError, match="index"):
        _ = views(payload, other)[0].resource  # type: ignore[arg-type] - only its columns are read


def test_a_view_keeps_its_payload_alive() -> None:
    made = [views(request().SerializeToString(), scan(request().SerializeToString()))[2] for _ in range(50)]
    assert {view.name for view in made} == {"worker 0"}
    attributes = [view.attributes for view in made]
    del made
    assert all(one["user"] == "u" for one in attributes)


def test_a_view_and_a_look_at_an_attribute_are_cheap() -> None:
    made = ExportTraceServiceRequest()
    span = Span(name="n", attributes=[text(f"some.attribute.{n}", "some value") for n in range(10)])
    made.resource_spans.add().scope_spans.add().spans.extend([span] * 1000)
    payload = made.SerializeToString()
    index = scan(payload)

    def best(work: Any) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    looked = best(lambda: [view.attributes.get("some.attribute.5") for view in views(payload, index)])
    parsed = best(lambda: ExportTraceServiceRequest.FromString(payload))
    assert looked < parsed * 3
