"""The limiter against a naive one, over any traffic: late, twice, restarted, forgotten; and against the truth of a counter."""

import random
from fractions import Fraction

import pytest
from cardinality_naive import EPOCHS, Naive, Value, attributes, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import Rules

WINDOW = EPOCHS * 10**9
KINDS = ("counter", "up_down", "real", "delta", "gauge", "histogram", "delta_histogram", "exponential", "summary")
BOUNDS = ((1.0, 2.0, 5.0), (1.0, 5.0), (2.0, 5.0, 9.0), ())
T0 = 10**18
SECOND = 10**9


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


class Source:
    """One series of a sender, as an SDK would keep it."""

    def __init__(self, kind, labels, draw):
        self.kind, self.labels, self.draw = kind, labels, draw
        self.begin(0)

    def begin(self, now):
        self.start = T0 + now * SECOND
        self.value, self.counts, self.sum, self.zeros = 0, {}, 0, 0
        self.bounds = self.draw.choice(BOUNDS[:3] if self.draw.random() < 0.9 else BOUNDS)
        self.scale = self.draw.choice((0, 0, 1, 2))

    def step(self):
        draw = self.draw
        if self.kind == "up_down":
            self.value += draw.randrange(-5, 6)
        elif self.kind == "real":
            self.value += draw.randrange(40) / 8
        else:
            self.value += draw.randrange(5)
        if self.kind in ("delta", "delta_histogram"):
            self.counts = {}
        for _ in range(draw.randrange(4)):
            at = draw.randrange(-6, 7) if self.kind == "exponential" else draw.randrange(len(self.bounds) + 1)
            self.counts[at] = self.counts.get(at, 0) + 1
            self.sum += draw.randrange(9)
        self.zeros += draw.randrange(2)

    def write(self, point, now):
        kind, draw = self.kind, self.draw
        point.start_time_unix_nano, point.time_unix_nano = self.start, T0 + now * SECOND
        for key, value in draw.sample(self.labels, len(self.labels)):
            point.attributes.add(key=key).value.string_value = value
        if kind in ("counter", "up_down", "delta") or (kind == "gauge" and draw.random() < 0.5):
            point.as_int = self.value
        elif kind in ("real", "gauge"):
            point.as_double = self.value
        else:
            point.count, point.sum = sum(self.counts.values()) + self.zeros, self.sum
            if kind == "exponential":
                point.scale, point.zero_count = self.scale, self.zeros
                for side in (point.positive, point.negative):
                    side.offset = min(self.counts, default=0)
                    span = range(side.offset, max(self.counts, default=-1) + 1)
                    side.bucket_counts.extend(self.counts.get(at, 0) for at in span)
            elif kind != "summary":
                point.explicit_bounds.extend(self.bounds)
                point.bucket_counts.extend(self.counts.get(at, 0) for at in range(len(self.bounds) + 1))
        if hasattr(point, "exemplars") and draw.random() < 0.3:
            point.exemplars.add(as_int=now).trace_id = bytes(16)


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
                for _ in range(draw.randrange(1, 7)):
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
        if event == "again":     # over a restart
            blob = ours.state_blob()
            ours = limiter(**options)
            ours.load_state(blob)
            assert ours.state_blob() == blob
            continue
        payload = sender.draw.choice(sent) if event == "late" else sender.request()
        sent.append(payload)
        limited = ours.limit_request(payload)
        compare(payload if limited is None else limited, naive.limit(payload))
        assert ours.active == len(naive.admitted)
        assert ours.folded == len(naive.folded)
        assert ours.aggregated == len(naive.aggregates)


class Reader:
    """A backend that adds up what a series came to, over its lives."""

    def __init__(self):
        self.series = {}

    def read(self, payload):
        for resource in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points:
                        key = attributes(resource.resource), metric.name, attributes(point)
                        lives = self.series.setdefault(key, [])
                        value = exact(point)
                        assert value >= 0
                        if lives and lives[-1][0] == point.start_time_unix_nano:
                            assert point.time_unix_nano <= lives[-1][1] or value >= lives[-1][2], "it fell"
                            if point.time_unix_nano <= lives[-1][1]:
                                continue
                            lives[-1] = point.start_time_unix_nano, point.time_unix_nano, value
                        elif not lives or point.start_time_unix_nano > lives[-1][0]:
                            lives.append((point.start_time_unix_nano, point.time_unix_nano, value))

    def total(self):
        return sum((Fraction(value) for lives in self.series.values() for _, _, value in lives), Fraction())


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
    """Whatever is folded, admitted later after a restart of its sender, late or twice: the total is the senders' own."""
    draw, ours, truth, read = random.Random(seed), limiter(**options), Reader(), Reader()
    sources = {
        (node, user, zone): Source(draw.choice(("counter", "real")), [("user", user), ("zone", zone)], draw)
        for node in "12"
        for user in "abcdef"
        for zone in "xy"
    }
    sent = []
    for now in range(1, 60):
        request = ExportMetricsServiceRequest()
        for node in "12":
            resource = request.resource_metrics.add()
            resource.resource.attributes.add(key="node").value.string_value = node
            metric = resource.scope_metrics.add().metrics.add(name="work")
            metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
            for (where, _, _), source in sources.items():
                if where == node and draw.random() < 0.8:
                    if draw.random() < 0.05:
                        source.begin(now)
                    source.step()
                    source.write(metric.sum.data_points.add(), now)
        sent.append(request.SerializeToString())
        for payload in [sent[-1], *draw.sample(sent, draw.randrange(2))]:
            truth.read(payload)
            limited = ours.limit_request(payload)
            read.read(payload if limited is None else limited)
        ours.pass_time(SECOND)
        if draw.random() < 0.1:
            blob, ours = ours.state_blob(), limiter(**options)
            ours.load_state(blob)
    assert read.total() == truth.total()
    assert ours.aggregated > 0
