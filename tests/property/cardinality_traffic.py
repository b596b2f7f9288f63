"""Series as an SDK keeps them, and a backend that adds up what they came to."""

from fractions import Fraction

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.property.cardinality_naive import attributes, exact

BOUNDS = ((1.0, 2.0, 5.0), (1.0, 5.0), (2.0, 5.0, 9.0), ())
T0 = 10**18
SECOND = 10**9


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


class Reader:
    """Of each series, and of each of its lives, the newest value; within a life it must not fall."""

    def __init__(self):
        self.series = {}

    def read(self, request):
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points:
                        key = attributes(resource.resource), metric.name, attributes(point), point.start_time_unix_nano
                        time, value = self.series.get(key, (0, 0))
                        if point.time_unix_nano > time:
                            assert exact(point) >= value, "it fell"
                            self.series[key] = point.time_unix_nano, exact(point)

    def total(self):
        return sum((Fraction(value) for _, value in self.series.values()), Fraction())


def counters(draw, users="abcdef"):
    """Sources of one metric on two nodes, by (node, user, zone)."""
    return {
        (node, user, zone): Source(draw.choice(("counter", "real")), [("user", user), ("zone", zone)], draw)
        for node in "12"
        for user in users
        for zone in "xy"
    }


def report(draw, sources, now):
    """What their nodes send at a time: most of them, some after a restart."""
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
    return request
