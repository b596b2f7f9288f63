"""The limiter over every way in which protobuf lets a request be written, and over bytes that are none."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from otlp_messages import canonical, random_request, untidy

from collector.wire import Malformed, scan_metrics
from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import Rules
from tests.fuzz.mutate import damage, rearrange

seeds = st.integers(0, 2**48)
FIRST = ExportMetricsServiceRequest()
FIRST.resource_metrics.add().scope_metrics.add().metrics.add(name="first").gauge.data_points.add(as_int=1)


def limiter(**options: Any) -> Limiter:
    config = CardinalityLimiterOptions(**options)
    return Limiter(
        Rules(config),
        window_ns=config.window,
        max_series=config.max_series,
        max_metrics=config.max_metrics,
        max_aggregates=config.max_aggregated_series,
        max_state=config.max_state_size,
    )


def full(**options: Any) -> Limiter:
    """One that has admitted all that it may."""
    made = limiter(max_series=1, **options)
    assert made.limit_request(FIRST.SerializeToString()) is None
    assert made.active == 1
    return made


def written(seed: int) -> bytes:
    rnd = Random(seed)
    payload = random_request(rnd, "metrics").SerializeToString()
    if rnd.random() < 0.7:
        payload = untidy(rnd, ExportMetricsServiceRequest.FromString(payload))
        for _ in range(rnd.randrange(3)):
            other = rearrange(rnd, payload)
            try:
                ExportMetricsServiceRequest.FromString(other)
            except Exception:  # the move made no message of it
                continue
            payload = other
    return payload


def data_of(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data")) if metric.WhichOneof("data") else None


def points_of(metric: Any) -> list[Any]:
    return list(data_of(metric).data_points) if data_of(metric) is not None else []


def without_points(metric: Any) -> bytes:
    copy = type(metric).FromString(metric.SerializeToString())
    if data_of(copy) is not None:
        del data_of(copy).data_points[:]
    return bytes(canonical(copy))


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_what_is_within_the_limits_is_not_touched(seed: int) -> None:
    payload, ours = written(seed), limiter(max_metrics=1000)
    index = scan_metrics(payload)
    assert ours.limit_request(payload) is None
    assert ours.active <= index.count
    before = ours.active
    assert ours.limit_request(payload) is None
    assert ours.active == before


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_all_points_dropped(seed: int) -> None:
    payload, ours = written(seed), full(action="drop")
    expected = ExportMetricsServiceRequest.FromString(payload)
    for resource in expected.resource_metrics:
        for scope in resource.scope_metrics:
            gone = [metric for metric in scope.metrics if data_of(metric) is not None and data_of(metric).data_points]
            for metric in gone:
                scope.metrics.remove(metric)
    limited = ours.limit_request(payload)
    count = scan_metrics(payload).count
    assert (ours.removed, ours.dropped, ours.sent) == (count, count, 0)
    assert (limited is None) == (count == 0)
    if limited is not None:
        assert canonical(ExportMetricsServiceRequest.FromString(limited)) == canonical(expected)
        assert scan_metrics(limited).count == 0


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_all_points_in_one(seed: int) -> None:
    payload, ours = written(seed), full()
    before = ExportMetricsServiceRequest.FromString(payload)
    limited = ours.limit_request(payload)
    count = scan_metrics(payload).count
    assert (ours.removed, ours.dropped) == (count, 0)
    if limited is None:
        assert count == 0
        return
    after = ExportMetricsServiceRequest.FromString(limited)
    assert scan_metrics(limited).count == ours.sent <= count
    for was, now in zip(before.resource_metrics, after.resource_metrics, strict=True):
        assert canonical(was.resource) == canonical(now.resource)
        for old, new in zip(was.scope_metrics, now.scope_metrics, strict=True):
            left = list(new.metrics)
            for metric in old.metrics:
                points = points_of(metric)
                if not (left and without_points(left[0]) == without_points(metric)):
                    assert points  # nothing in it was sound
                    continue
                found = left.pop(0)
                if points:
                    (point,) = points_of(found)
                    assert [(a.key, a.value.bool_value) for a in point.attributes] == [("otel.metric.overflow", True)]
            assert not left


@settings(max_examples=300, deadline=None)
@given(seed=seeds)
def test_damaged_bytes(seed: int) -> None:
    rnd = Random(seed)
    options = rnd.choice(
        ({}, {"action": "drop_label"}, {"max_values_per_label": 1}, {"action": "drop"}, {"max_series_per_metric": 1})
    )
    ours = limiter(max_series=rnd.choice((1, 3, 1000)), window="1s", **options)
    payload, other = written(seed), written(seed + 1)
    for _ in range(5):
        harmed = damage(rnd, payload, other)
        try:
            limited = ours.limit_request(harmed)
            count = scan_metrics(harmed).count
        except Malformed:
            continue
        assert scan_metrics(harmed if limited is None else limited).count == count - ours.removed + ours.sent
        ours.pass_time(10**9)
    blob = b"".join(ours.state_pieces())
    again = limiter(max_series=1000, window="1s", **options)
    again.load_state(blob)
    assert b"".join(again.state_pieces()) == blob


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_a_damaged_state_is_refused_or_read(seed: int) -> None:
    rnd = Random(seed)
    ours = full(action=rnd.choice(("overflow", "drop_label")), max_values_per_label=2)
    for at in range(3):
        ours.limit_request(written(seed + at))
    blob = bytearray(b"".join(ours.state_pieces()))
    for _ in range(rnd.randrange(1, 4)):
        at = rnd.randrange(len(blob))
        blob[at : at + 1] = rnd.choice((b"", bytes([rnd.randrange(256)]), b"\xff\xff"))
    again = limiter()
    try:
        again.load_state(bytes(blob[: rnd.choice((len(blob), rnd.randrange(len(blob) + 1)))]))
    except ValueError:
        return
    for at in range(3):
        again.limit_request(written(seed + at))
        again.pass_time(10**12)


@pytest.mark.parametrize("payload", [b"\x0a\x05\x12\x03\x12\x05", b"\x0b", b"\x0a\x02\x0a\x7f"])
def test_what_is_no_request_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        limiter().limit_request(payload)
