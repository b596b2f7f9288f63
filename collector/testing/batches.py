"""Sample telemetry for tests: OTLP requests as SDKs make them, from a seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.api import ANONYMOUS, Ack, Batch, Context

if TYPE_CHECKING:
    from collector.api import Account

START_NS = 1_700_000_000_000_000_000
"""When the first span of a sample starts."""

_NAMES = ("inference.request", "layer.execute", "comm.send_tensor", "consensus.vote", "GET /healthz")
_SERVICES = ("butterfly-node", "butterfly-gateway")


def traces_request(spans: int = 20, seed: int = 0, *, traces: int = 5) -> ExportTraceServiceRequest:
    """A request of `spans` spans of up to `traces` traces, over two resources with two scopes each.

    There are roots and children, errors, events, links, attributes of every type, and lengths up to ten seconds.
    """
    chooser = random.Random(seed)
    ids = [chooser.randbytes(16) for _ in range(traces)]
    roots: dict[bytes, bytes] = {}
    request = ExportTraceServiceRequest()
    scopes = []
    for node, service in enumerate(_SERVICES):
        resource = request.resource_spans.add()
        resource.resource.attributes.extend(_attributes({"service.name": service, "node.id": node}))
        resource.schema_url = "https://opentelemetry.io/schemas/1.30.0"
        for name in ("inference", "transport"):
            scope = resource.scope_spans.add()
            scope.scope.name = name
            scope.scope.version = "1.0"
            scopes.append(scope)
    for at in range(spans):
        chooser.choice(scopes).spans.append(_span(chooser, chooser.choice(ids), roots, at))
    return request


def traces_payload(spans: int = 20, seed: int = 0, *, traces: int = 5) -> bytes:
    """`traces_request` on the wire."""
    return traces_request(spans, seed, traces=traces).SerializeToString()


def traces_batch(
    spans: int = 20,
    seed: int = 0,
    *,
    ack: Ack | None = None,
    account: Account | None = None,
    context: Context = ANONYMOUS,
) -> Batch:
    """`traces_payload` as a batch; nobody waits for its ack unless one is given."""
    return Batch(
        traces_payload(spans, seed), Ack.ignore() if ack is None else ack, account=account, context=context, count=spans
    )


def _span(chooser: random.Random, trace_id: bytes, roots: dict[bytes, bytes], at: int) -> Span:
    span_id = chooser.randbytes(8)
    start = START_NS + at * 1_000_000
    length = chooser.choice((50_000, 2_000_000, 300_000_000, 10_000_000_000))
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=roots.get(trace_id, b""),
        name=chooser.choice(_NAMES),
        kind=chooser.choice((Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)),
        start_time_unix_nano=start,
        end_time_unix_nano=start + length,
    )
    roots.setdefault(trace_id, span_id)
    route = "/healthz" if span.name.endswith("/healthz") else "/infer"
    span.attributes.extend(
        _attributes(
            {
                "http.route": route,
                "layer": at % 200,
                "ratio": 0.25,
                "cached": at % 2 == 0,
                "user.email": f"u{at}@example.org",
            }
        )
    )
    if chooser.random() < 0.2:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = "deadline exceeded"
    if chooser.random() < 0.2:
        event = span.events.add(name="byzantine.fault_detected", time_unix_nano=start + 1)
        event.attributes.extend(_attributes({"fault": "equivocation"}))
    if chooser.random() < 0.1:
        span.links.add(trace_id=chooser.randbytes(16), span_id=chooser.randbytes(8))
    return span


def _attributes(values: dict[str, str | bool | int | float]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: str | bool | float) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)
