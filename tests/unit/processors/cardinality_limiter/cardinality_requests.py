"""Requests as the tests of the limiter send them, and what comes out of it."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import Rules

KINDS = {"gauge": "gauge", "sum": "sum", "histogram": "histogram", "exponential": "exponential_histogram"}
OVERFLOW = {"otel.metric.overflow": True}


def limiter(*, key=None, **options):
    options.setdefault("window", "16s")
    config = CardinalityLimiterOptions(**options)
    return Limiter(
        Rules(config),
        window_ns=config.window,
        max_series=config.max_series,
        max_metrics=config.max_metrics,
        max_aggregates=config.max_aggregated_series,
        max_state=config.max_state_size,
        max_exemplars=config.max_exemplars,
        max_offenders=config.max_offenders,
        key=key,
    )


class Sent:
    """One request in the making."""

    def __init__(self, node="1"):
        self.request = ExportMetricsServiceRequest()
        resource = self.request.resource_metrics.add()
        resource.resource.attributes.add(key="node").value.string_value = node
        self.scope = resource.scope_metrics.add()

    def metric(self, name, kind="sum", temporality=2, monotonic=True):
        for metric in self.scope.metrics:
            if metric.name == name:
                return getattr(metric, metric.WhichOneof("data"))
        data = getattr(self.scope.metrics.add(name=name), kind)
        data.SetInParent()
        if kind not in ("gauge", "summary"):
            data.aggregation_temporality = temporality
        if kind == "sum":
            data.is_monotonic = monotonic
        return data

    def point(self, name, labels, *, kind="sum", temporality=2, monotonic=True, start=1, time=2, **fields):
        fields = fields or {"as_int": 1}
        point = self.metric(name, kind, temporality, monotonic).data_points.add(
            start_time_unix_nano=start, time_unix_nano=time, **fields
        )
        for key, value in labels.items():
            any_value = point.attributes.add(key=key).value
            if isinstance(value, bool):
                any_value.bool_value = value
            else:
                any_value.string_value = value
        return self

    @property
    def payload(self):
        return self.request.SerializeToString()


def labels_of(point):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in point.attributes}


def points(payload):
    """{metric: [(labels, point)]}"""
    return {
        metric.name: [(labels_of(p), p) for p in getattr(metric, metric.WhichOneof("data")).data_points]
        for resource in ExportMetricsServiceRequest.FromString(payload).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def through(ours, sent, tenant=b""):
    """What a limiter makes of a request, as `points` has it."""
    limited = ours.limit_request(sent.payload, tenant)
    return points(sent.payload if limited is None else limited)


def numbers(found, name):
    """[(labels, number)] of a metric."""
    return [(labels, getattr(p, p.WhichOneof("value"))) for labels, p in found.get(name, [])]
