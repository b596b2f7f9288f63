"""An aggregate as an OTLP metrics request. Once a flush and series, so protobuf's own objects will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, ResourceMetrics

from collector.connectors.span_metrics.aggregate import OVERFLOW, UNITS
from collector.connectors.span_metrics.buckets import ExplicitBuckets
from collector.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from collector.connectors.span_metrics.aggregate import Aggregate
    from collector.connectors.span_metrics.candidates import Candidate
    from collector.connectors.span_metrics.options import SpanMetricsOptions

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class Report:
    """Writes requests about aggregates with these options. `instance` tells this partition's series from others'."""

    def __init__(self, options: SpanMetricsOptions, instance: str) -> None:
        self._options = options
        self._instance = instance
        self._unit_ns = UNITS[options.histogram.unit]

    def write(
        self, aggregate: Aggregate, now_ns: int, exemplars: Mapping[int, Sequence[Candidate]]
    ) -> tuple[bytes, int]:
        """The request, and how many points it has. One resource a service, in the order of first sight."""
        request = ExportMetricsServiceRequest()
        services: dict[str, list[Metric]] = {}
        points = 0
        for series in range(len(aggregate)):
            if not aggregate.calls[series]:
                continue
            service, attributes = "", {"otel.metric.overflow": "true"}
            if series != OVERFLOW:
                service, attributes = aggregate.dimensions.read(aggregate.key(series))
            metrics = services.get(service)
            if metrics is None:
                metrics = services[service] = self._metrics(request.resource_metrics.add(), service)
            every = [metrics[0].sum.data_points.add()]
            self._count(every[0], aggregate.calls[series])
            if len(metrics) > 1:
                every.append(self._histogram(metrics[1], aggregate, series, exemplars.get(series, ())))
            for point in every:
                point.start_time_unix_nano, point.time_unix_nano = aggregate.start_ns, now_ns
                for key, value in attributes.items():
                    attribute = point.attributes.add(key=key)
                    if series == OVERFLOW:
                        attribute.value.bool_value = True
                    else:
                        attribute.value.string_value = value
            points += len(every)
        payload: bytes = request.SerializeToString()
        return payload, points

    def _metrics(self, resource: ResourceMetrics, service: str) -> list[Metric]:
        described = {"service.name": service, "service.instance.id": self._instance}
        for key, value in described.items():
            if value:
                resource.resource.attributes.add(key=key).value.string_value = value
        scope = resource.scope_metrics.add()
        scope.scope.name, scope.scope.version = "butterfly.span_metrics", __version__
        namespace = f"{self._options.namespace}." if self._options.namespace else ""
        calls = scope.metrics.add(name=f"{namespace}calls", description="Spans that ended.")
        calls.sum.aggregation_temporality, calls.sum.is_monotonic = _CUMULATIVE, True
        if self._options.histogram.disable:
            return [calls]
        unit = self._options.histogram.unit
        durations = scope.metrics.add(name=f"{namespace}duration", unit=unit, description="How long spans took.")
        kind = durations.histogram if self._options.histogram.exponential is None else durations.exponential_histogram
        kind.aggregation_temporality = _CUMULATIVE
        return [calls, durations]

    def _histogram(self, metric: Metric, aggregate: Aggregate, series: int, exemplars: Sequence[Candidate]) -> Any:
        point: Any
        buckets = aggregate.buckets
        if isinstance(buckets, ExplicitBuckets):
            point = metric.histogram.data_points.add()
            counts = [round(each) for each in buckets.counts[series].tolist()]
            point.bucket_counts.extend(counts)
            point.explicit_bounds.extend(bound / self._unit_ns for bound in buckets.bounds.tolist())
            point.count = sum(counts)
        else:
            point = metric.exponential_histogram.data_points.add()
            scale, offset, dense, zeros = buckets.reported(series)
            counts = [round(each) for each in dense]
            point.scale, point.positive.offset = scale, offset
            point.positive.bucket_counts.extend(counts)
            point.zero_count = round(zeros)
            point.count = sum(counts) + point.zero_count
        point.sum = aggregate.sum_ns(series) / self._unit_ns
        for each in exemplars:
            hi, lo = each.trace
            point.exemplars.add(
                trace_id=hi.to_bytes(8, "big") + lo.to_bytes(8, "big"),
                span_id=each.span_id.to_bytes(8, "big"),
                time_unix_nano=each.time_ns,
                as_double=each.duration_ns / self._unit_ns,
            )
        return point

    def _count(self, point: Any, calls: Any) -> None:
        if self._options.weighted:
            point.as_double = float(calls)
        else:
            point.as_int = int(calls)
