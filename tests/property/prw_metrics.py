"""Requests of metrics of every kind, from a random.Random, with what is legal and odd in them."""

import math

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

NOW = 1_700_000_000_000_000_000
_KEYS = (
    "http.method", "http_method", "http..method", "1st", "_x", "__y__", "é", "", "le", "quantile", "job", "a", "B",
    "zz", "service.name", "trace_id", "otel_scope_name", "region", "__name__",
)  # fmt: skip
_VALUES = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 5e-324, 1e300)
_BOUNDS = (-5.0, 0.0, 0.005, 0.1, 1.0, 2.5, 10.0, 1e6, 1e22)


def metrics_request(chooser, temporality=2):
    request = ExportMetricsServiceRequest()
    for _ in range(chooser.randint(0, 3)):
        resource = request.resource_metrics.add()
        if chooser.random() < 0.8:
            keys = chooser.sample(("service.name", "service.namespace", "service.instance.id", "host.name", "a"), 3)
            put(chooser, resource.resource.attributes, keys)
        for _ in range(chooser.randint(0, 2)):
            scope = resource.scope_metrics.add(schema_url=chooser.choice(("", "https://s/1")))
            if chooser.random() < 0.6:
                scope.scope.name = chooser.choice(("", "lib"))
                scope.scope.version = chooser.choice(("", "1.0"))
                put(
                    chooser,
                    scope.scope.attributes,
                    chooser.sample(("name", "short.name", "short_name"), chooser.randint(0, 2)),
                )
            for _ in range(chooser.randint(0, 4)):
                add_metric(chooser, scope.metrics.add(), temporality)
    return request


def put(chooser, attributes, keys):
    for key in keys:
        value = attributes.add(key=key).value
        kind = chooser.randint(0, 8)
        if kind <= 3:
            value.string_value = chooser.choice(("GET", "POST", "", "é" * 5, "x" * 90))
        elif kind == 4:
            value.int_value = chooser.choice((0, -1, 1 << 62))
        elif kind == 5:
            value.bool_value = chooser.random() < 0.5
        elif kind == 6:
            value.double_value = chooser.choice((0.1, 1e30, 1.5e-9, 3.0, -2.5))
        elif kind == 7:
            value.array_value.values.add(string_value="a")
            value.array_value.values.add(int_value=3)
        else:
            value.bytes_value = b"\0\1"


def some_keys(chooser, most=4):
    return [chooser.choice(_KEYS) for _ in range(chooser.randint(0, most))]


def add_metric(chooser, metric, temporality):
    metric.name = chooser.choice(("requests", "http.server.duration", "queue", "...", "9lives", "a_total", "x"))
    metric.unit = chooser.choice(("", "s", "1", "By/s", "{thing}"))
    metric.description = chooser.choice(("", "What it is"))
    kind = chooser.choice(("gauge", "sum", "histogram", "exponential_histogram", "summary"))
    data = getattr(metric, kind)
    data.SetInParent()
    if kind not in {"gauge", "summary"}:
        data.aggregation_temporality = temporality if chooser.random() < 0.95 else 0
    if kind == "sum":
        data.is_monotonic = chooser.random() < 0.6
    for _ in range(chooser.randint(0, 4)):
        point = data.data_points.add(
            time_unix_nano=chooser.choice((NOW, NOW + 10**9, NOW - 10**9, NOW + 999_999, 0))
            if chooser.random() < 0.9
            else NOW,
            start_time_unix_nano=chooser.choice((0, NOW - 10**12, NOW + 10**15)),
            flags=int(chooser.random() < 0.1),
        )
        put(chooser, point.attributes, some_keys(chooser))
        if kind != "summary":
            for _ in range(chooser.randint(0, 2) if chooser.random() < 0.4 else 0):
                add_exemplar(chooser, point.exemplars.add())
        fill(chooser, kind, point)


def fill(chooser, kind, point):
    if kind in {"gauge", "sum"}:
        if chooser.random() < 0.5:
            point.as_int = chooser.choice((0, -7, 1 << 60))
        else:
            point.as_double = chooser.choice(_VALUES)
    elif kind == "histogram":
        bounds = sorted(chooser.sample(_BOUNDS, chooser.randint(0, 5)))
        if chooser.random() < 0.1:
            bounds.append(math.inf)
        if chooser.random() < 0.1:
            bounds.append(chooser.choice((0.0, math.nan)))
        point.explicit_bounds.extend(bounds)
        if chooser.random() < 0.9:
            point.bucket_counts.extend(chooser.randint(0, 5) for _ in range(len(bounds) + (chooser.random() < 0.95)))
        point.count = sum(point.bucket_counts) or chooser.randint(0, 9)
        if chooser.random() < 0.8:
            point.sum = chooser.choice(_VALUES)
    elif kind == "summary":
        point.count = chooser.randint(0, 9)
        point.sum = chooser.choice(_VALUES)
        for quantile in chooser.sample((0.0, 0.5, 0.99, 1.0), chooser.randint(0, 3)):
            point.quantile_values.add(quantile=quantile, value=chooser.choice(_VALUES))
    else:
        fill_exponential(chooser, point)


def fill_exponential(chooser, point, *, sound=False):
    point.scale = chooser.choice((-4, 0, 3, 8, 9, 20) if sound else (-5, -4, 0, 3, 8, 9, 20))
    point.zero_count = chooser.randint(0, 3)
    point.zero_threshold = chooser.choice((0.0, 0.0, 1e-6))
    for side in (point.positive, point.negative):
        if chooser.random() < 0.7:
            side.offset = chooser.randint(-4, 4) << max(point.scale, 0)
            side.bucket_counts.extend(chooser.choice((0, 0, 0, 1, 2, 1 << 40)) for _ in range(chooser.randint(0, 12)))
    point.count = point.zero_count + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
    if not sound and chooser.random() < 0.1:
        point.count += 1
    if chooser.random() < 0.8:
        point.sum = chooser.choice((0.0, 1.5, -3.0))


def add_exemplar(chooser, exemplar):
    exemplar.time_unix_nano = chooser.choice((0, NOW - 5 * 10**6, NOW))
    exemplar.as_double = chooser.choice((0.0, 0.003, 0.005, 50.0, math.nan, 1e9))
    if chooser.random() < 0.7:
        exemplar.trace_id = chooser.choice((bytes(range(16)), bytes(16), b"short"))
        exemplar.span_id = chooser.choice((bytes(range(8)), bytes(8), b""))
    put(chooser, exemplar.filtered_attributes, some_keys(chooser, 3))
