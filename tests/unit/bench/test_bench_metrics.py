"""The generated metrics: what they are, that they say what the spans of the same run say, and that they repeat."""

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.catalogue import SCOPES
from bench.generator.clock import Clock, Moment
from bench.generator.error_types import ERRORS
from bench.generator.explosion import ExplosionRequest
from bench.generator.measurements import FAULT_TYPE, explicit_bucket, exponential_bucket
from bench.generator.metric_catalogue import (
    BOUNDS,
    DOMAINS,
    ERROR_TYPES,
    EXPLODING,
    LAYERS,
    METRICS,
    NODES,
    SCALE,
    FromSpans,
    Growth,
    Level,
)
from bench.generator.metric_shape import MetricShape
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from bench.otlp_items import Distribution, points

SHAPE = Shape(seed=11, senders=4, batch=50, spans=3_000, mix=Mix(byzantine=0.08), metrics=MetricShape(series=3_500))
BEGAN = 1_700_000_000_000_000_000
CYCLE_NS = 400_000_000


def clock():
    found = Clock(BEGAN)
    for cycle in range(4):
        found.start(cycle, BEGAN + cycle * CYCLE_NS, CYCLE_NS)
    return found


CLOCK = clock()


def at(cycle, index, number=0):
    return Moment(number, cycle, index, BEGAN + cycle * CYCLE_NS + index)


def report(traffic, moment, before=None):
    return [
        ExportMetricsServiceRequest.FromString(request.encode(moment, before, CLOCK))
        for request in traffic.metrics.requests
    ]


def items(traffic, moment, before=None):
    return [point for request in report(traffic, moment, before) for point in points(request)]


def value_of(pair):
    return getattr(pair.value, pair.value.WhichOneof("value"))


class Seen:
    """One span as it was sent, read with protobuf."""

    def __init__(self, node, span):
        self.node = node
        self.span = span
        self.attributes = {pair.key: value_of(pair) for pair in span.attributes}
        self.failed = span.status.code == 2
        self.status = "error" if self.failed else "ok"
        self.nanoseconds = span.end_time_unix_nano - span.start_time_unix_nano
        self.seconds = self.nanoseconds / 1e9
        self.events = {event.name for event in span.events}

    @property
    def byzantine(self):
        return (
            FAULT_TYPE in self.attributes
            or self.attributes.get("butterfly.byzantine.detected") is True
            or self.attributes.get("butterfly.verification.result") == "failed"
            or bool(self.events & {"byzantine.fault_detected", "byzantine.verification_failed"})
        )


@pytest.fixture(scope="module")
def traffic():
    return Traffic(SHAPE)


@pytest.fixture(scope="module")
def sent(traffic):
    """Spans of the first three cycles, by cycle and request."""
    found = {}
    for cycle in range(3):
        ends = CLOCK.ends(cycle, traffic.position)
        for index, request in enumerate(traffic.requests):
            message = ExportTraceServiceRequest.FromString(request.encode(cycle, ends))
            (group,) = message.resource_spans
            (node,) = (value_of(pair) for pair in group.resource.attributes if pair.key == "butterfly.node.id")
            found[cycle, index] = [Seen(node, span) for scope in group.scope_spans for span in scope.spans]
    return found


def until(sent, moment):
    return [seen for key, spans in sent.items() if key < (moment.cycle, moment.index) for seen in spans]


MOMENTS = [at(0, 0), at(0, 7), at(1, 0), at(1, 33), at(3, 0)]


def test_the_catalogue_covers_the_eight_categories_and_every_kind():
    assert len(METRICS) >= 50
    assert {metric.category for metric in METRICS.values()} == set(SCOPES)
    assert min(Counter(metric.category for metric in METRICS.values()).values()) >= 5
    kinds = Counter(metric.kind for metric in METRICS.values())
    assert set(kinds) == {"gauge", "counter", "up_down_counter", "histogram", "exponential_histogram", "summary"}
    assert all(metric.unit and metric.about for metric in METRICS.values())
    assert (NODES, LAYERS, ERROR_TYPES) == (1000, 200, len({kind for kind, _ in ERRORS})) == (1000, 200, 50)


def test_the_page_has_every_metric_as_the_catalogue_has_it():
    page = (Path(__file__).parents[3] / "docs" / "butterfly-metrics.md").read_text()
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `butterfly.")]
    table = {row[0].strip("`"): row[1:] for row in cells}
    assert list(table) == [*METRICS, EXPLODING.name]
    for metric in (*METRICS.values(), EXPLODING):
        labels = ", ".join(f"`{key}`" for key in metric.attributes) or "-"
        kind = metric.kind.replace("up_down", "up-down").replace("_", " ") + (", exemplars" if metric.exemplars else "")
        assert table[metric.name] == [kind, f"`{metric.unit}`", labels, metric.about]
    for category in SCOPES:
        assert f"\n## {category.title()}\n" in page


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_an_entry_fits_together(metric):
    assert metric.name.startswith("butterfly.")
    assert not metric.exemplars or isinstance(metric.source, FromSpans)
    if not isinstance(metric.source, FromSpans):
        assert set(metric.attributes) <= set(DOMAINS)
        assert (metric.kind == "counter") == isinstance(metric.source, Growth)
        assert metric.kind in {"counter", "gauge", "up_down_counter"}
    elif metric.kind in {"histogram", "exponential_histogram", "summary"}:
        assert metric.source.amount != "1"
        assert metric.kind != "histogram" or metric.unit in BOUNDS


def test_a_round_has_the_series_asked_for_each_once(traffic):
    found = items(traffic, at(0, 0))
    assert len(found) == traffic.metrics.series == 3_500
    assert len({point.key for point in found}) == len(found)
    assert {point.key.name for point in found} == set(METRICS)
    assert max(len(request) for request in traffic.metrics.requests) <= 1000
    assert {len(point.key.resource) for point in found} == {10}


def test_resources_are_those_of_the_traces(traffic, sent):
    traces = ExportTraceServiceRequest.FromString(traffic.requests[0].encode(0, CLOCK.ends(0, traffic.position)))
    resource = {pair.key: value_of(pair) for pair in traces.resource_spans[0].resource.attributes}
    mine = [point for point in items(traffic, at(0, 0)) if dict(point.key.resource) == resource]
    assert len(mine) > 500


def counted(point):
    return point.value.count if isinstance(point.value, Distribution) else point.value


def wanted(metric, spans):
    """What the metric must show after these spans, by node and labels: worked out from protobuf messages alone."""
    found = defaultdict(list)
    for seen in spans:
        if metric.source.names and seen.span.name not in metric.source.names:
            continue
        if (metric.source.only == "error" and not seen.failed) or (
            metric.source.only == "byzantine" and not seen.byzantine
        ):
            continue
        labels = []
        for key in metric.attributes:
            if key == "status":
                labels.append((key, seen.status))
            elif key == "error.type":
                labels.append((key, seen.attributes.get(key, "_OTHER")))
            elif key == FAULT_TYPE:
                failed = seen.attributes.get("butterfly.verification.result") == "failed"
                failed = failed or "byzantine.verification_failed" in seen.events
                labels.append((key, seen.attributes.get(key, "failed_verification" if failed else "unclassified")))
            else:
                labels.append((key, seen.attributes[key]))
        amount = metric.source.amount
        found[seen.node, tuple(sorted(labels))].append(
            1 if amount == "1" else seen.nanoseconds if amount == "duration" else seen.attributes[amount]
        )
    return found


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_every_measured_metric_says_what_the_spans_say(traffic, sent, moment):
    spans = until(sent, moment)
    shown = defaultdict(dict)
    for point in items(traffic, moment):
        shown[point.key.name][dict(point.key.resource)["butterfly.node.id"], point.key.attributes] = point.value
    checked = 0
    for metric in METRICS.values():
        if not isinstance(metric.source, FromSpans):
            continue
        amounts = wanted(metric, spans)
        assert set(amounts) <= set(shown[metric.name]), metric.name
        for key, value in shown[metric.name].items():
            mine = amounts.get(key, [])
            if metric.kind == "counter":
                assert value == sum(mine), metric.name
                checked += bool(mine)
                continue
            unit = 1e9 if metric.unit == "s" else 1.0
            assert value.count == len(mine)
            assert value.sum == pytest.approx(sum(mine) / unit, rel=1e-12)
            if metric.kind == "histogram":
                assert value.bounds == BOUNDS[metric.unit]
                buckets = Counter(sum(each / unit > bound for bound in value.bounds) for each in mine)
                assert value.buckets == tuple(buckets[number] for number in range(len(value.bounds) + 1))
            elif metric.kind == "exponential_histogram":
                assert sum(value.buckets) == value.count
                base = 2**2**-SCALE
                for number, count in enumerate(value.buckets):
                    low, high = base ** (value.offset + number), base ** (value.offset + number + 1)
                    assert count == sum(low < each / unit <= high for each in mine)
            checked += bool(mine)
    assert checked >= (500 if moment.cycle else len(spans) // 4)


def test_byzantine_faults_by_node_and_type_add_up(traffic, sent):
    spans = [seen for seen in until(sent, at(3, 0)) if seen.byzantine]
    faults = [point for point in items(traffic, at(3, 0)) if point.key.name == "butterfly.byzantine.faults"]
    assert sum(point.value for point in faults) == len(spans) > 30
    kinds = {dict(point.key.attributes)[FAULT_TYPE] for point in faults}
    assert {"unclassified", "failed_verification"} < kinds


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_exemplars_point_at_spans_that_their_series_counts(traffic, sent, moment):
    known = {(seen.span.trace_id.hex(), seen.span.span_id.hex()): seen for seen in until(sent, moment)}
    found = 0
    for point in items(traffic, moment):
        metric = METRICS[point.key.name]
        if not metric.exemplars:
            assert not point.exemplars
            continue
        assert len(point.exemplars) == (counted(point) > 0)
        for exemplar in point.exemplars:
            found += 1
            seen = known[exemplar.trace_id, exemplar.span_id]
            assert seen.node == dict(point.key.resource)["butterfly.node.id"]
            assert exemplar.time == seen.span.end_time_unix_nano
            assert dict(exemplar.attributes) == {"butterfly.request.id": seen.attributes["butterfly.request.id"]}
            assert dict(point.key.attributes).get("status", seen.status) == seen.status
            assert exemplar.value == (1 if metric.kind == "counter" else pytest.approx(seen.seconds, rel=1e-12))
    assert found >= (200 if moment.cycle else len(known) // 10)
    assert bool(found) == bool(known)


def test_exemplars_are_of_traces_that_must_be_kept_and_of_others(traffic, sent):
    bad = {seen.span.trace_id.hex() for seen in until(sent, at(3, 0)) if seen.failed or seen.byzantine}
    shown = {each.trace_id for point in items(traffic, at(2, 20)) for each in point.exemplars}
    assert len(shown & bad) > 10
    assert len(shown - bad) > 50


def test_levels_stay_within_their_bounds_and_move(traffic):
    one, other = items(traffic, at(0, 0, 0)), items(traffic, at(0, 0, 1))
    moved = 0
    for before, after in zip(one, other, strict=True):
        source = METRICS[before.key.name].source
        if isinstance(source, Level):
            assert source.low <= before.value <= source.high
            assert isinstance(before.value, type(source.low))
            moved += before.value != after.value
    assert moved > 500


def test_growth_only_grows(traffic):
    rounds = [items(traffic, moment) for moment in MOMENTS]
    for series in zip(*rounds, strict=True):
        if isinstance(METRICS[series[0].key.name].source, Growth):
            values = [point.value for point in series]
            assert values == sorted(values)
            assert values[0] == 0
            assert values[-1] > 0


def test_shape_of_points(traffic):
    for point in items(traffic, at(1, 33)):
        metric = METRICS[point.key.name]
        kind = {"counter": "sum", "up_down_counter": "sum"}.get(metric.kind, metric.kind)
        assert (point.key.kind, point.key.unit) == (kind, metric.unit)
        assert point.monotonic == (metric.kind == "counter")
        assert point.time == at(1, 33).at
        assert point.start == (0 if metric.kind == "gauge" else BEGAN)
        assert point.temporality == (0 if metric.kind in {"gauge", "summary"} else 2)
        assert point.key.scope == SCOPES[metric.category]


@pytest.mark.parametrize("temporality", ["delta", "mixed"])
def test_deltas_add_up_to_the_cumulative_numbers(traffic, temporality):
    shape = MetricShape(series=3_500, temporality=temporality)
    deltas = Traffic(Shape(**{**vars_of(SHAPE), "metrics": shape}))
    total, before = {}, None
    for number, each in enumerate(MOMENTS):
        moment = Moment(number, each.cycle, each.index, each.at)
        for point in items(deltas, moment, before):
            metric = METRICS[point.key.name]
            if metric.name not in shape.deltas():
                assert point.temporality in {0, 2}
                continue
            assert point.temporality == 1
            assert point.start == (before.at if before else BEGAN)
            known = total.get(point.key)
            total[point.key] = point.value if known is None else known + point.value
        before = moment
    wanted = {point.key: point.value for point in items(traffic, MOMENTS[-1])}
    assert len(total) > 400
    for key, value in total.items():
        if isinstance(value, Distribution):
            same = (value.count, value.buckets, value.bounds, value.offset)
            assert same == (wanted[key].count, wanted[key].buckets, wanted[key].bounds, wanted[key].offset)
            assert value.sum == pytest.approx(wanted[key].sum, rel=1e-9)
        else:
            assert value == pytest.approx(wanted[key], rel=1e-9)
    chosen = {key.name for key in total}
    assert chosen == shape.deltas()


def vars_of(shape):
    return {name: getattr(shape, name) for name in shape.__dataclass_fields__}


def test_the_same_shape_gives_the_same_bytes_and_another_seed_does_not(traffic):
    def bytes_of(which):
        return [request.encode(at(2, 9), None, CLOCK) for request in which.metrics.requests]

    small = Shape(seed=3, senders=2, batch=50, spans=500, metrics=MetricShape(series=1_000))
    assert bytes_of(Traffic(small)) == bytes_of(Traffic(small))
    assert bytes_of(Traffic(small)) != bytes_of(Traffic(Shape(**{**vars_of(small), "seed": 4})))


def test_encoding_again_does_not_depend_on_what_was_encoded_before(traffic):
    first = [request.encode(at(1, 33), None, CLOCK) for request in traffic.metrics.requests]
    report(traffic, at(3, 0))
    assert [request.encode(at(1, 33), None, CLOCK) for request in traffic.metrics.requests] == first


def test_an_explosion_is_one_label_of_so_many_values():
    shape = Shape(seed=3, senders=2, batch=50, spans=500, metrics=MetricShape(series=1_000, batch=100, explode=950))
    traffic = Traffic(shape)
    found = [point for point in items(traffic, at(1, 0, 4)) if point.key.name not in METRICS]
    assert {point.key.name for point in found} == {"butterfly.session.requests"}
    labels = [point.key.attributes for point in found]
    assert len(set(labels)) == len(labels) == 950
    assert {point.value for point in found} == {5}
    assert {key for ((key, _),) in labels} == {"session.id"}
    again = [point for point in items(Traffic(shape), at(2, 0, 0)) if point.key.name not in METRICS]
    assert [point.key.attributes for point in again] == labels
    kinds = [isinstance(request, ExplosionRequest) for request in traffic.metrics.requests]
    assert kinds != sorted(kinds)
    assert kinds != sorted(kinds, reverse=True)


def test_more_series_are_of_further_nodes(traffic):
    shape = Shape(seed=3, senders=2, batch=50, spans=500, metrics=MetricShape(series=9_000))
    more = Traffic(shape)
    found = items(more, at(0, 0))
    nodes = {dict(point.key.resource)["butterfly.node.id"] for point in found}
    assert len(found) == len({point.key for point in found}) == 9_000
    assert 8 <= len(nodes) <= 12
    assert {request.sender for request in more.metrics.requests} == {0, 1}


def test_traces_are_the_same_with_and_without_metrics():
    small = Shape(seed=3, senders=2, batch=50, spans=500)
    ends = np.zeros(1_000, np.int64)
    plain, with_metrics = Traffic(small), Traffic(Shape(**{**vars_of(small), "metrics": MetricShape(series=1)}))
    assert [r.encode(0, ends) for r in plain.requests] == [r.encode(0, ends) for r in with_metrics.requests]


@pytest.mark.parametrize("value", [1e-9, 0.0049, 0.25, 1.0, 1.19, 3.7e6])
def test_buckets(value):
    base = 2**2**-SCALE
    index = exponential_bucket(value)
    assert base**index < value * (1 + 1e-12)
    assert value <= base ** (index + 1) * (1 + 1e-12)
    assert explicit_bucket(0.25, (0.1, 0.25, 0.5)) == 1
    assert explicit_bucket(math.nextafter(0.25, 1), (0.1, 0.25, 0.5)) == 2
