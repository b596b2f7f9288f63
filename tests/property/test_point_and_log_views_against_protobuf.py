"""Views of data points and log records read what protobuf reads, and their edits do what the same do to its objects."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from attribute_values import any_value, as_dict, delete_places, plain, random_value, set_attribute, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_messages import TEXTS, canonical, random_request, untidy

from collector.ack import Ack
from collector.batch import Batch, Signal
from collector.wire import Malformed, validate_logs, validate_metrics
from collector.wire.log_view import LogView, log_views
from collector.wire.point_view import PointView, point_views
from tests.fuzz.signals import ITEMS, KINDS, metrics_of, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.wire.item_view import ItemView

seeds = given(seed=st.integers(0, 2**48))
both = pytest.mark.parametrize("signal", ["metrics", "logs"])


def views_of(signal: str, payload: bytes) -> list[Any]:
    if signal == "metrics":
        return list(point_views(payload, validate_metrics(payload)))
    return list(log_views(payload, validate_logs(payload)))


def optional(point: Any, field: str) -> float | None:
    return getattr(point, field) if point.HasField(field) else None


def number_of(message: Any) -> float | None:
    kind = message.WhichOneof("value")
    return None if kind is None else getattr(message, kind)


def read_point(view: PointView) -> tuple[Any, ...]:
    return (
        view.name, view.unit, view.description, view.kind, view.temporality, view.monotonic, view.start_time_unix_nano,
        view.time_unix_nano, view.flags, view.value, view.count, view.sum, view.min, view.max,
        [tuple(one) for one in view.exemplars],
    )  # fmt: skip


def expected_points(request: Any) -> list[tuple[Any, ...]]:
    rows = []
    for *_, metric in metrics_of(request):
        kind = metric.WhichOneof("data")
        if kind is None:
            continue
        data = getattr(metric, kind)
        temporality = {1: "delta", 2: "cumulative"}.get(getattr(data, "aggregation_temporality", 0), "unspecified")
        numbers, histogram = kind in ("gauge", "sum"), "histogram" in kind
        for point in data.data_points:
            exemplars = [] if kind == "summary" else point.exemplars
            rows.append((
                metric.name, metric.unit, metric.description, kind, temporality, kind == "sum" and data.is_monotonic,
                point.start_time_unix_nano, point.time_unix_nano, point.flags,
                number_of(point) if numbers else None, None if numbers else point.count,
                None if numbers else optional(point, "sum") if histogram else point.sum,
                optional(point, "min") if histogram else None, optional(point, "max") if histogram else None,
                [(one.trace_id, one.span_id, number_of(one), one.time_unix_nano) for one in exemplars],
            ))  # fmt: skip
    return rows


def read_record(view: LogView) -> tuple[Any, ...]:
    return (
        view.body, view.severity_number, view.severity_text, view.trace_id, view.span_id, view.time_unix_nano,
        view.observed_time_unix_nano, view.flags, view.event_name,
    )  # fmt: skip


def expected_record(record: Any) -> tuple[Any, ...]:
    return (
        plain(record.body), record.severity_number, record.severity_text, record.trace_id, record.span_id,
        record.time_unix_nano, record.observed_time_unix_nano, record.flags, record.event_name,
    )  # fmt: skip


def resources_of(signal: str, request: Any) -> list[Any]:
    name = "resource_metrics" if signal == "metrics" else "resource_logs"
    return [one.resource for one in getattr(request, name)]


@both
@seeds
@settings(max_examples=60, deadline=None)
def test_views_read_what_protobuf_reads(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, signal))
    request = parse(signal, payload)
    made = views_of(signal, payload)
    items = ITEMS[signal](request)
    if signal == "metrics":
        assert [shown(read_point(view)) for view in made] == [shown(row) for row in expected_points(request)]
        assert {view.kind for view in made} <= KINDS.keys()
    else:
        assert [shown(read_record(view)) for view in made] == [shown(expected_record(item)) for _, item in items]
    resource = [row[-4 if signal == "metrics" else -2] for row, _ in items]
    for number, (view, (_, item)) in enumerate(zip(made, items, strict=True)):
        assert view.row == number
        assert shown(dict(view.attributes.items())) == shown(as_dict(item.attributes))
        assert shown(dict(view.resource)) == shown(as_dict(resources_of(signal, request)[resource[number]].attributes))
        assert not view.changed
        assert canonical(type(item).FromString(view.to_bytes())) == canonical(item)


def edit_record(rnd: Random, record: Any, view: LogView) -> None:
    action = rnd.choice(("body", "body", "number", "text"))
    if action == "body":
        value = random_value(rnd)
        view.body = value
        record.ClearField("body")
        if value is not None:
            record.body.CopyFrom(any_value(value))
        assert shown(view.body) == shown(value)
    elif action == "number":
        view.severity_number = record.severity_number = rnd.choice((0, 9, -1, 2**31 - 1))
    else:
        view.severity_text = record.severity_text = rnd.choice(TEXTS)


def edit_attributes(rnd: Random, item: Any, view: ItemView) -> None:
    keys = [one.key for one in item.attributes]
    key = rnd.choice([*keys, "new"])
    if key in keys and rnd.random() < 0.3:
        del view.attributes[key]
        delete_places(item, [i for i, one in enumerate(item.attributes) if one.key == key])
    else:
        value = random_value(rnd)
        view.attributes[key] = value
        set_attribute(item, key, value)


@both
@seeds
@settings(max_examples=80, deadline=None)
def test_edits_of_views_do_what_they_do_to_protobuf(signal: str, seed: int) -> None:
    rnd = Random(seed)
    batch = Batch(untidy(rnd, random_request(rnd, signal)), Ack.ignore(), signal=Signal(signal))
    request = parse(signal, batch.payload)
    made = list(batch.views())
    items = [item for _, item in ITEMS[signal](request)]
    for view, item in zip(made, items, strict=True):
        for _ in range(rnd.randrange(3)):
            edit_attributes(rnd, item, view)
            if isinstance(view, LogView):
                edit_record(rnd, item, view)
        assert canonical(type(item).FromString(view.to_bytes())) == canonical(item)
        assert list(view.attributes) == list(as_dict(item.attributes))
    edited = [item for _, item in ITEMS[signal](parse(signal, batch.apply(made).to_bytes()))]
    assert [canonical(item) for item in edited] == [canonical(item) for item in items]


@both
@seeds
@settings(max_examples=40, deadline=None)
def test_what_a_view_did_not_change_keeps_its_bytes(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, signal))
    for view in views_of(signal, payload):
        before = view.to_bytes()
        view.attributes["a key that nobody has"] = "v"
        after = view.to_bytes()
        assert after[: len(before)] == before
        assert after[len(before) + 1 :] == b"\x1c\x0a\x15a key that nobody has\x12\x03\x0a\x01v"


@both
@seeds
@settings(max_examples=80, deadline=None)
def test_damaged_items_are_read_or_refused_and_nothing_else(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = bytearray(untidy(rnd, random_request(rnd, signal)))
    index = validate_metrics(bytes(payload)) if signal == "metrics" else validate_logs(bytes(payload))
    for _ in range(8):
        payload[rnd.randrange(len(payload))] = rnd.randrange(256)
    views: Callable[..., list[Any]] = point_views if signal == "metrics" else log_views
    for view in views(bytes(payload), index):
        for read in (
            lambda view=view: read_point(view) if signal == "metrics" else read_record(view),
            lambda view=view: dict(view.attributes.items()),
            lambda view=view: view.attributes.update(a=1),
            view.to_bytes,
        ):
            try:
                read()
            except Malformed:
                continue


@both
def test_an_index_of_other_bytes_is_refused(signal: str) -> None:
    payload = random_request(Random(1), signal).SerializeToString()
    index = validate_metrics(payload) if signal == "metrics" else validate_logs(payload)
    views: Callable[..., list[Any]] = point_views if signal == "metrics" else log_views
    with pytest.raises(ValueError, match="not this payload's"):
        views(payload[:20], index)
    with pytest.raises(ValueError, match="mask"):
        views(payload, index, [True] * (index.count + 1))
