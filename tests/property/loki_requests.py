"""Random log requests with everything in them that the `loki` exporter looks at."""

from __future__ import annotations

import json

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.property.otlp_messages import DOUBLES, TEXTS

NOW = 1_790_000_000_123_456_789
KEYS = (
    *("service.name", "service_name", "service.namespace", "level", "butterfly.node.id", "node_id", "request_id"),
    *("butterfly.request.id", "component", "trace_id", "scope_name", "tenant", "a.b", "a_b", "1a", "", "é", "message"),
)


def value(rnd, any_value, depth=0):
    kind = rnd.randrange(9 if depth < 3 else 6)
    if kind in (0, 6):
        any_value.string_value = rnd.choice(TEXTS)
    elif kind == 1:
        any_value.bool_value = rnd.random() < 0.5
    elif kind == 2:
        any_value.int_value = rnd.choice((0, 1, -1, 2**63 - 1, -(2**63), 300))
    elif kind == 3:
        any_value.double_value = rnd.choice(DOUBLES)
    elif kind == 4:
        any_value.bytes_value = rnd.randbytes(rnd.randrange(7))
    elif kind == 7:
        any_value.array_value.SetInParent()
        for _ in range(rnd.randrange(3)):
            value(rnd, any_value.array_value.values.add(), depth + 1)
    elif kind == 8:
        any_value.kvlist_value.SetInParent()
        for _ in range(rnd.randrange(3)):
            pair = any_value.kvlist_value.values.add(key=rnd.choice(TEXTS))
            if rnd.random() < 0.9:
                value(rnd, pair.value, depth + 1)


def attributes(rnd, to):
    for key in rnd.sample(KEYS, rnd.randrange(6)) + rnd.choices(KEYS, k=rnd.randrange(2)):
        pair = to.add(key=key)
        if rnd.random() < 0.9:
            value(rnd, pair.value)


def body(rnd, any_value):
    if rnd.random() < 0.5:
        value(rnd, any_value)
    elif rnd.random() < 0.5:
        keys = rnd.sample(("message", "trace_id", "span_id", "request_id", "butterfly.node.id", "x", "fields"), 4)
        members = {key: rnd.choice(("v", "", 1, None, {"a": ["}", {"b": '"'}]}, [], "é", -1.5e3, True)) for key in keys}
        text = json.dumps(members, indent=rnd.choice((None, 1)), ensure_ascii=False)
        any_value.string_value = rnd.choice((text, text, f" {text}\n", text[:-1], f"{text}x", f"[{text}]", text + text))
    else:
        for key in rnd.sample(("message", "trace_id", "span_id", "node_id", "x"), 3):
            value(rnd, any_value.kvlist_value.values.add(key=key).value)


def logs(rnd):
    request = ExportLogsServiceRequest()
    for _ in range(rnd.randrange(1, 4)):
        resource = request.resource_logs.add()
        attributes(rnd, resource.resource.attributes)
        for _ in range(rnd.randrange(1, 3)):
            scope = resource.scope_logs.add()
            scope.scope.name = rnd.choice(("", "consensus", "layers"))
            scope.scope.version = rnd.choice(("", "1.0"))
            attributes(rnd, scope.scope.attributes)
            for _ in range(rnd.randrange(5)):
                record = scope.log_records.add(
                    time_unix_nano=rnd.choice((0, NOW, NOW - 5, NOW - 10**12 - 1, NOW + 10**9 + 1, NOW - 10**15)),
                    observed_time_unix_nano=rnd.choice((0, NOW, NOW + 1, 2**64 - 1)),
                    severity_number=rnd.choice((0, 0, 1, 9, 10, 17, 24, 25, -1)),
                    severity_text=rnd.choice(("", "INFO", "Warning", "crit", "odd", "x" * 40)),
                    trace_id=rnd.choice((b"", bytes(16), rnd.randbytes(16), b"short")),
                    span_id=rnd.choice((b"", bytes(8), rnd.randbytes(8), bytes(7) + b"\1\1")),
                    flags=rnd.choice((0, 1)),
                    dropped_attributes_count=rnd.choice((0, 3)),
                    event_name=rnd.choice(("", "vote")),
                )
                body(rnd, record.body)
                attributes(rnd, record.attributes)
    return request
