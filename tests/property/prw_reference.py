"""A plain translation of OTLP metrics to Prometheus, with protobuf objects and dictionaries, for cumulative points.

It gives {labels: {time in ms: value}} where a value is a float's bits or a tuple for a native histogram, and
{labels: [exemplar]}; the same is read out of the messages of remote write.
"""

import base64
import json
import math
import re
import struct
from decimal import Decimal
from itertools import pairwise

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporters.prometheus_remote_write.naming import Names

STALE = 0x7FF0000000000002
NAN = 0x7FF8000000000001


def bits(value):
    return NAN if math.isnan(value) else struct.unpack("<Q", struct.pack("<d", value))[0]


def raw_bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def plain_decimal(value):
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = format(Decimal(repr(value)), "f")
    return re.sub(r"\.?0*$", "", text) if "." in text else text


def text(value):
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        number = value.double_value
        if number == 0 or not math.isfinite(number) or 1e-6 <= abs(number) < 1e21:
            return plain_decimal(number)
        mantissa, exponent = repr(number).split("e")
        return f"{mantissa}e{'+' if int(exponent) > 0 else '-'}{abs(int(exponent))}"
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return json.dumps(nested(value), separators=(",", ":"), ensure_ascii=False)


def nested(value):
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [nested(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: nested(each.value) for each in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


def label_name(key, utf8):
    if utf8 and key:
        return key
    name = re.sub(r"[^a-zA-Z0-9]+", "_", key)
    if not name or name[0].isdigit():
        return f"key_{name}"
    return f"key{name}" if name[0] == "_" else name


def attributes(pairs):
    """Of one key the last counts."""
    return {each.key: text(each.value) for each in pairs}


def joined(values, name):
    """{label: value}, of names that become one joined in the order of the keys."""
    result = {}
    for key in sorted(values, key=lambda key: (name(key).encode(), key.encode())):
        label = name(key)
        result[label] = f"{result[label]};{values[key]}" if label in result else values[key]
    return result


class Reference:
    def __init__(
        self, strategy="UnderscoreEscapingWithSuffixes", *, namespace="", external=(), resource=False, scope=True
    ):
        names = Names(strategy, namespace)
        self.names, self.utf8 = names.translate, names.utf8
        self.external, self.resource, self.with_scope = dict(external), resource, scope
        self.target_name = f"{namespace}_target_info" if namespace else "target_info"

    def translate(self, payload):
        self.samples, self.exemplars, self.refused, self.targets = {}, {}, {}, {}
        self.row = 0
        for each in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
            self.on_resource(each)
        return self

    def label(self, key):
        return label_name(key, self.utf8)

    def on_resource(self, resource_metrics):
        self.owned = attributes(resource_metrics.resource.attributes)
        service, space = self.owned.get("service.name", ""), self.owned.get("service.namespace", "")
        self.identity = {}
        if service:
            self.identity["job"] = f"{space}/{service}" if space else service
        if self.owned.get("service.instance.id"):
            self.identity["instance"] = self.owned["service.instance.id"]
        self.newest = 0
        for scope_metrics in resource_metrics.scope_metrics:
            scope = scope_metrics.scope
            self.fixed = {}
            if self.with_scope:
                self.fixed = self.filled(joined(attributes(scope.attributes), self.scope_label))
                own = {"name": scope.name, "version": scope.version, "schema_url": scope_metrics.schema_url}
                self.fixed |= {f"otel_scope_{key}": value for key, value in own.items() if value}
            self.fixed |= self.identity
            for metric in scope_metrics.metrics:
                self.on_metric(metric)
        others = {
            key: value
            for key, value in self.owned.items()
            if key not in {"service.name", "service.namespace", "service.instance.id"}
        }
        if self.newest and self.identity and others:
            labels = self.external | self.filled(joined(others, self.label)) | self.identity
            self.add({**labels, "__name__": self.target_name}, self.newest // 10**6, bits(1.0))

    def scope_label(self, key):
        return "otel_scope_" + (key if self.utf8 else re.sub(r"[^a-zA-Z0-9]+", "_", "_" + key)[1:])

    @staticmethod
    def filled(labels):
        return {name: value for name, value in labels.items() if value}

    def on_metric(self, metric):
        kind = metric.WhichOneof("data")
        if kind is None:
            return
        data = getattr(metric, kind)
        counter = kind == "sum" and data.is_monotonic
        name, _ = self.names(
            metric.name.encode(), metric.unit.encode(), 1 if counter else (0 if kind == "gauge" else 2)
        )
        for point in data.data_points:
            reason = self.reason(name, kind, data, point)
            if reason:
                self.refused[self.row] = reason
            else:
                self.newest = max(self.newest, point.time_unix_nano)
                own = attributes(point.attributes)
                if self.resource:
                    own |= self.owned
                labels = self.external | self.filled(joined(own, self.label)) | self.fixed
                labels.pop("__name__", None)
                if point.flags & 1 and kind != "summary":
                    del point.exemplars[:]  # there is no value for them to be an example of
                getattr(self, f"on_{kind}")(name.decode(), labels, point)
            self.row += 1

    def reason(self, name, kind, data, point):
        if not name:
            return "invalid_name"
        if point.time_unix_nano == 0 or point.time_unix_nano >= 1 << 63:
            return "invalid_time"
        if kind not in {"gauge", "summary"} and data.aggregation_temporality not in {1, 2}:
            return "temporality"
        if point.flags & 1:
            return None
        if kind == "histogram":
            bounds = list(point.explicit_bounds) if point.bucket_counts else []
            if point.bucket_counts and len(point.bucket_counts) != len(bounds) + 1:
                return "malformed_histogram"
            if any(math.isnan(b) for b in bounds) or any(a >= b for a, b in pairwise(bounds)):
                return "malformed_histogram"
        if kind == "exponential_histogram":
            total = point.zero_count + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
            if total != point.count or math.isnan(point.zero_threshold) or point.zero_threshold < 0:
                return "malformed_histogram"
            if not -4 <= point.scale <= 40:
                return "unsupported_scale"
        return None

    def add(self, labels, time, value):
        self.samples.setdefault(tuple(sorted(labels.items())), {}).setdefault(time, value)

    def float(self, point, labels, name, value, **extra):
        labels = {**labels, **extra, "__name__": name}
        self.add(labels, point.time_unix_nano // 10**6, STALE if point.flags & 1 else bits(value))
        return tuple(sorted(labels.items()))

    def on_gauge(self, name, labels, point):
        value = float(point.as_int) if point.WhichOneof("value") == "as_int" else point.as_double
        series = self.float(point, labels, name, value)
        for each in point.exemplars:
            self.exemplar(series, point, each)

    on_sum = on_gauge

    def on_histogram(self, name, labels, point):
        bounds = list(point.explicit_bounds) if point.bucket_counts or point.flags & 1 else []
        if bounds and bounds[-1] == math.inf:
            bounds.pop()
        counts = list(point.bucket_counts)
        total, series = 0, []
        for at, bound in enumerate(bounds):
            total += counts[at] if at < len(counts) else 0
            series.append(self.float(point, labels, f"{name}_bucket", float(total), le=plain_decimal(bound)))
        series.append(self.float(point, labels, f"{name}_bucket", float(point.count), le="+Inf"))
        if point.HasField("sum") or point.flags & 1:
            self.float(point, labels, f"{name}_sum", point.sum)
        self.float(point, labels, f"{name}_count", float(point.count))
        for each in point.exemplars:
            value = float(each.as_int) if each.WhichOneof("value") == "as_int" else each.as_double
            at = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
            self.exemplar(series[at], point, each)

    def on_summary(self, name, labels, point):
        for each in point.quantile_values:
            self.float(point, labels, name, each.value, quantile=plain_decimal(each.quantile))
        self.float(point, labels, f"{name}_sum", point.sum)
        self.float(point, labels, f"{name}_count", float(point.count))

    def on_exponential_histogram(self, name, labels, point):
        labels = {**labels, "__name__": name}
        time = point.time_unix_nano // 10**6
        if point.flags & 1:
            value = ("native", 0, STALE, 0, 0, 0, (), ())
        else:
            value = (
                "native",
                point.count,
                bits(point.sum) if point.HasField("sum") else NAN,
                min(point.scale, 8),
                bits(point.zero_threshold or 1e-128),
                point.zero_count,
                coarse(point.negative, point.scale),
                coarse(point.positive, point.scale),
            )
        self.add(labels, time, value)
        for each in point.exemplars:
            self.exemplar(tuple(sorted(labels.items())), point, each)

    def exemplar(self, series, point, exemplar):
        ids = {}
        if len(exemplar.trace_id) == 16 and any(exemplar.trace_id):
            ids["trace_id"] = exemplar.trace_id.hex()
        if len(exemplar.span_id) == 8 and any(exemplar.span_id):
            ids["span_id"] = exemplar.span_id.hex()
        room = 128 - sum(len(name) + len(value) for name, value in ids.items())
        labels = dict(ids)
        for name, value in sorted(
            joined(attributes(exemplar.filtered_attributes), self.label).items(), key=lambda item: item[0].encode()
        ):
            if value and name not in ids and name != "__name__" and len(name) + len(value) <= room:
                room -= len(name) + len(value)
                labels[name] = value
        value = float(exemplar.as_int) if exemplar.WhichOneof("value") == "as_int" else exemplar.as_double
        time = (exemplar.time_unix_nano or point.time_unix_nano) // 10**6
        self.exemplars.setdefault(series, []).append((time, bits(value), tuple(sorted(labels.items()))))


def coarse(buckets, scale):
    """((index, count), ...) of buckets that aren't empty, at scale 8 at the most, by Prometheus' upper borders."""
    shift = max(scale - 8, 0)
    result = {}
    for at, count in enumerate(buckets.bucket_counts):
        if count:
            index = ((buckets.offset + at) >> shift) + 1
            result[index] = result.get(index, 0) + count
    return tuple(sorted(result.items()))


def native(histogram):
    return (
        "native",
        histogram.count_int,
        raw_bits(histogram.sum),
        histogram.schema,
        raw_bits(histogram.zero_threshold),
        histogram.zero_count_int,
        expanded(histogram.negative_spans, histogram.negative_deltas),
        expanded(histogram.positive_spans, histogram.positive_deltas),
    )


def expanded(spans, deltas):
    deltas = iter(deltas)
    index, count, result = 0, 0, []
    for span in spans:
        assert span.length > 0
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            assert count >= 0
            if count:
                result.append((index, count))
            index += 1
    assert next(deltas, None) is None
    return tuple(result)


def read_v1(request, samples, exemplars):
    """Add what a WriteRequest holds. Labels must be sorted, unique and not empty, samples in order."""
    for series in request.timeseries:
        read_series(series, [(each.name, each.value) for each in series.labels], samples)
        add_exemplars(
            series,
            [[(each.name, each.value) for each in exemplar.labels] for exemplar in series.exemplars],
            exemplars,
            [(each.name, each.value) for each in series.labels],
        )


def read_v2(request, samples, exemplars):
    assert request.symbols[0] == ""
    assert len(set(request.symbols)) == len(request.symbols)

    def pairs(refs):
        return [(request.symbols[a], request.symbols[b]) for a, b in zip(refs[::2], refs[1::2], strict=True)]

    for series in request.timeseries:
        assert not (series.samples and series.histograms)
        read_series(series, pairs(series.labels_refs), samples)
        add_exemplars(
            series, [pairs(each.labels_refs) for each in series.exemplars], exemplars, pairs(series.labels_refs)
        )


def read_series(series, pairs, samples):
    names = [name.encode() for name, _ in pairs]
    assert names == sorted(set(names))
    assert all(name and value for name, value in pairs)
    assert series.samples or series.histograms
    found = samples.setdefault(tuple(sorted(pairs)), {})
    for times in ([s.timestamp for s in series.samples], [h.timestamp for h in series.histograms]):
        assert times == sorted(set(times))
    for sample in series.samples:
        assert sample.timestamp not in found
        found[sample.timestamp] = raw_bits(sample.value)
    for histogram in series.histograms:
        assert histogram.timestamp not in found
        found[histogram.timestamp] = native(histogram)


def add_exemplars(series, labels, exemplars, pairs):
    times = [each.timestamp for each in series.exemplars]
    assert times == sorted(times)
    for exemplar, own in zip(series.exemplars, labels, strict=True):
        assert sum(len(name) + len(value) for name, value in own) <= 128
        exemplars.setdefault(tuple(sorted(pairs)), []).append(
            (exemplar.timestamp, raw_bits(exemplar.value), tuple(own))
        )
