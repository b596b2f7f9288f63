"""Requests of metrics and of logs as SDKs write them, for measurements of the wire code."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOURCE = (
    "service.name",
    "service.version",
    "service.instance.id",
    "k8s.pod.name",
    "k8s.namespace.name",
    "host.name",
)
ROUTES = ("/api/v1/cart/{id}", "/api/v1/checkout", "/api/v2/products/{sku}/reviews", "/healthz", "/oauth/token")
BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
START = 1_718_000_000_000_000_000


def put(attributes: Any, values: Mapping[str, str | int | bool]) -> None:
    for key, value in values.items():
        pair = attributes.add(key=key)
        kind = "bool_value" if isinstance(value, bool) else "int_value" if isinstance(value, int) else "string_value"
        setattr(pair.value, kind, value)


def put_resource(rnd: random.Random, resource: Any) -> None:
    put(resource.attributes, {name: f"{name[:6]}-{rnd.getrandbits(64):016x}" for name in RESOURCE})


def metrics_request(points: int, seed: int = 7) -> bytes:
    """Metrics of 20 points: two thirds sums, a sixth gauges, a sixth histograms of 15 bounds, some with an exemplar."""
    rnd = random.Random(seed)
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    put_resource(rnd, resource.resource)
    scopes = [resource.scope_metrics.add() for _ in range(3)]
    for number, scope in enumerate(scopes):
        scope.scope.name = f"io.opentelemetry.library-{number}"
    metric: Any = None
    kind = ""
    for number in range(points):
        if number % 20 == 0:
            metric = scopes[number // 20 % 3].metrics.add(
                name=f"http.server.requests.{number}", unit="{request}", description="Requests that were answered."
            )
            kind = rnd.choice(("sum", "sum", "sum", "sum", "gauge", "histogram"))
            if kind != "gauge":
                getattr(metric, kind).aggregation_temporality = 2
        point = getattr(metric, kind).data_points.add(start_time_unix_nano=START, time_unix_nano=START + 10**10)
        put(point.attributes, {
            "http.request.method": rnd.choice(("GET", "POST", "PUT")), "http.route": rnd.choice(ROUTES),
            "http.response.status_code": rnd.choice((200, 201, 204, 304, 404)), "server.address": "shop.internal",
        })  # fmt: skip
        if kind == "histogram":
            point.bucket_counts.extend(rnd.randrange(1000) for _ in range(len(BOUNDS) + 1))
            point.explicit_bounds.extend(BOUNDS)
            point.count = sum(point.bucket_counts)
            point.sum = point.count * 12.5
        else:
            point.as_int = rnd.randrange(10**6)
        if kind == "histogram" and rnd.random() < 0.5:
            point.exemplars.add(
                time_unix_nano=START, as_double=rnd.random(), trace_id=rnd.randbytes(16), span_id=rnd.randbytes(8)
            )
    return request.SerializeToString()


def logs_request(records: int, seed: int = 7) -> bytes:
    """Records with a body of some 60 characters, 6 attributes and, most of them, a trace id."""
    rnd = random.Random(seed)
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    put_resource(rnd, resource.resource)
    scopes = [resource.scope_logs.add() for _ in range(3)]
    for number, scope in enumerate(scopes):
        scope.scope.name = f"com.example.shop.Handler{number}"
    for number in range(records):
        time = START + rnd.randrange(10**9)
        severity = rnd.choice((5, 9, 9, 9, 13, 17))
        record = scopes[number % 3].log_records.add(
            time_unix_nano=time, observed_time_unix_nano=time + 10**6, severity_number=severity,
            severity_text={5: "DEBUG", 9: "INFO", 13: "WARN", 17: "ERROR"}[severity],
        )  # fmt: skip
        record.body.string_value = (
            f"Handled request {rnd.getrandbits(64):016x} in {rnd.randrange(1000)} ms, 3 items in cart"
        )
        put(record.attributes, {
            "thread.name": f"worker-{rnd.randrange(64)}", "code.function": "handle", "code.lineno": 217,
            "http.route": rnd.choice(ROUTES), "user.id": f"u-{rnd.randrange(10**6)}", "retry": False,
        })  # fmt: skip
        if rnd.random() < 0.8:
            record.flags = 1
            record.trace_id = rnd.randbytes(16)
            record.span_id = rnd.randbytes(8)
    return request.SerializeToString()
