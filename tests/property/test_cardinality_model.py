"""The limiter against a naive one, over any traffic: late, twice, restarted, forgotten; and against the truth."""

import random

import pytest
from cardinality_naive import EPOCHS, Naive, Value, attributes, exact
from cardinality_traffic import SECOND, Reader, Source, counters, report
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import Rules

WINDOW = EPOCHS * 10**9
KINDS = ("counter", "up_down", "real", "delta", "gauge", "histogram", "delta_histogram", "exponential", "summary")


def limiter(*, per_metric=0, values=0, drop=(), **options):
    override = {"metrics": ["*"], "drop_labels": list(drop)} if drop else None
    config = CardinalityLimiterOptions(
        window="16s",
        max_series_per_metric=per_metric,
        max_values_per_label=values,
        overrides=[override] if override else [],
        **options,
    )
    return Limiter(
        Rules(config),
        window_ns=config.window,
        max_series=config.max_series,
        max_metrics=config.max_metrics,
        max_aggregates=config.max_aggregated_series,
        max_state=config.max_state_size,
        max_exemplars=64,
    )


def data_of(metric, kind):
    if kind in ("counter", "up_down", "real", "delta"):
        metric.sum.aggregation_temporality = 1 if kind == "delta" else 2
        metric.sum.is_monotonic = kind != "up_down"
        return metric.sum
    if kind in ("histogram", "delta_histogram"):
        metric.histogram.aggregation_temporality = 1 if kind == "delta_histogram" else 2
        return metric.histogram
    if kind == "exponential":
        metric.exponential_histogram.aggregation_temporality = 2
        return metric.exponential_histogram
    return metric.summary if kind == "summary" else metric.gauge


class Sender:
    def __init__(self, seed, kinds=KINDS):
        self.draw, self.now, self.sources = random.Random(seed), 0, {}
        self.kinds = kinds

    def request(self):
        draw = self.draw
        self.now += draw.randrange(3)
        request = ExportMetricsServiceRequest()
        for _ in range(draw.randrange(1, 3)):
            resource = request.resource_metrics.add()
            node = str(draw.randrange(2))
            resource.resource.attributes.add(key="node").value.string_value = node
            scope = resource.scope_metrics.add()
            for _ in range(draw.randrange(1, 4)):
                kind = draw.choice(self.kinds)
                metric = scope.metrics.add(name=kind)
                data = data_of(metric, kind)
                for _ in range(draw.choice((1, 2, 4, 6, 6, 70))):
                    self.point(kind, node, data.data_points.add())
        return request.SerializeToString()

    def point(self, kind, node, point):
        draw = self.draw
        if draw.random() < 0.05:
            labels = draw.choice(([], [("zone", "x")]))
        else:
            labels = [("user", draw.choice("abcdefg")), ("zone", draw.choice("xy"))]
        source = self.sources.setdefault((kind, node, *labels), Source(kind, labels, draw))
        if draw.random() < 0.15:
            source.begin(self.now)
        source.step()
        source.write(point, self.now)
        if draw.random() < 0.03:
            point.attributes.add(key="otel.metric.overflow").value.bool_value = True


def buckets(side):
    return {side.offset + at: count for at, count in enumerate(side.bucket_counts) if count}


def number_of(point, kind):
    """As the naive model has it."""
    if kind in ("sum", "gauge"):
        return exact(point)
    value = Value(point, kind)
    sides = [{end: count for end, count in side.items() if count} for side in value.sides]
    if kind == "histogram" and not point.explicit_bounds:
        sides = [{}, {}]
    return value.count, value.sum, value.zeros, value.scale, value.bounds, sides


def compare(payload, expected):
    metrics = [
        (resource, scope, metric)
        for resource in ExportMetricsServiceRequest.FromString(payload).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert [m.name for _, _, m in metrics] == [stream[2] for stream, _, _ in expected]
    for (_, _, metric), (stream, kept, made) in zip(metrics, expected, strict=True):
        kind = stream[4]
        points = list(getattr(metric, kind).data_points)
        assert points[: len(kept)] == kept
        found = [
            (attributes(p), (p.start_time_unix_nano, p.time_unix_nano, number_of(p, kind))) for p in points[len(kept) :]
        ]
        assert found == [(labels, point) for labels, point, _ in made]
        assert [type(number) for _, (_, _, number) in found] == [type(number) for _, (_, _, number), _ in made]
        for point, (_, _, exemplars) in zip(points[len(kept) :], made, strict=True):
            assert list(getattr(point, "exemplars", ())) == exemplars[:64]


OPTIONS = st.sampled_from(
    [
        {"per_metric": 3},
        {"max_series": 12},
        {"values": 2},
        {"values": 3, "per_metric": 5},
        {"values": 2, "label_action": "overflow"},
        {"values": 2, "label_action": "drop"},
        {"per_metric": 3, "action": "drop"},
        {"per_metric": 3, "action": "drop_label", "drop": ("user",)},
        {"per_metric": 1, "action": "drop_label", "drop": ("user", "zone")},
    ]
)

EVENTS = st.lists(st.sampled_from(["send", "send", "send", "late", "pass", "long", "again"]), max_size=40)


@settings(max_examples=120, deadline=None)
@given(OPTIONS, st.integers(0, 2**32), EVENTS)
def test_it_does_what_the_naive_one_does(options, seed, events):
    ours, naive, sender = limiter(**options), Naive(**options), Sender(seed)
    sender.kinds = sender.draw.choice((KINDS, KINDS[:3], KINDS[5:], ("counter", "up_down")))
    sent = []
    for event in ["send", *events, "send"]:
        if event in ("pass", "long"):
            epochs = 1 if event == "pass" else sender.draw.choice((15, 17, 70))
            for _ in range(epochs):
                ours.pass_time(SECOND)
                ours.pass_time(0)  # what only a second look removes, because something else had to go before
            naive.pass_epochs(epochs)
            continue
        if event == "again":  # over a restart
            blob = b"".join(ours.state_pieces())
            ours = limiter(**options)
            ours.load_state(blob)
            assert b"".join(ours.state_pieces()) == blob
            continue
        payload = sender.draw.choice(sent) if event == "late" else sender.request()
        sent.append(payload)
        limited = ours.limit_request(payload)
        compare(payload if limited is None else limited, naive.limit(payload))
        assert ours.active == len(naive.admitted)
        assert ours.folded == len(naive.folded)
        assert ours.aggregated == len(naive.aggregates)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "options",
    [
        {"per_metric": 4},
        {"values": 2},
        {"max_series": 5},
        {"per_metric": 3, "action": "drop_label", "drop": ("user",)},
        {"per_metric": 6, "action": "drop_label"},
    ],
    ids=str,
)
def test_what_all_series_come_to_is_the_truth(options, seed):
    """Whatever is folded, admitted after a restart of its sender, late or twice: the total is the senders' own."""
    draw, ours, truth, read = random.Random(seed), limiter(**options), Reader(), Reader()
    sources, sent = counters(draw), []
    for now in range(1, 60):
        sent.append(report(draw, sources, now).SerializeToString())
        for payload in [sent[-1], *draw.sample(sent, draw.randrange(2))]:
            truth.read(ExportMetricsServiceRequest.FromString(payload))
            limited = ours.limit_request(payload)
            read.read(ExportMetricsServiceRequest.FromString(payload if limited is None else limited))
        ours.pass_time(SECOND)
        if draw.random() < 0.1:
            blob, ours = b"".join(ours.state_pieces()), limiter(**options)
            ours.load_state(blob)
    assert read.total() == truth.total()
    assert ours.aggregated > 0
