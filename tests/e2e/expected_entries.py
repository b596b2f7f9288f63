"""What VictoriaLogs must hold after OTLP logs went through the loki exporter as it is without options: worked out with
protobuf objects, one record after the other, from docs/components/loki.md.

For what the generator and the SDKs send: ids of the right length, no attribute twice, nothing over a limit.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

LEVELS = ("unknown", "trace", "debug", "info", "warn", "error", "fatal")
LABELS = ("service.name", "service.namespace")
REQUEST_ID, NODE_ID = ("request_id", "butterfly.request.id"), ("node_id", "butterfly.node.id")
COMPONENT = ("component", "butterfly.component")
ROLES = (REQUEST_ID, NODE_ID, COMPONENT)

Entry = tuple[int, str, str, str]
"""Time in ns; the labels, the line and the rest (structured metadata) as sorted JSON."""


def expected_entries(payloads: Iterable[bytes]) -> Counter[Entry]:
    """Of serialised export requests."""
    found: Counter[Entry] = Counter()
    for payload in payloads:
        for group in ExportLogsServiceRequest.FromString(payload).resource_logs:
            resource = {each.key: plain(each.value) for each in group.resource.attributes}
            for scope in group.scope_logs:
                for record in scope.log_records:
                    found[entry(resource, scope.scope, record)] += 1
    return found


def entry(resource: dict[str, Any], scope: Any, record: Any) -> Entry:
    own = {each.key: plain(each.value) for each in record.attributes}
    body = plain(record.body) if record.body.WhichOneof("value") else ""
    said = members(body)
    level = LEVELS[(record.severity_number + 3) // 4] if record.severity_number else by_name(record.severity_text)
    time = record.time_unix_nano or record.observed_time_unix_nano
    request, node, component = (role(keys, own, said, resource) for keys in ROLES)
    ids = {
        "trace_id": record.trace_id.hex() or said.get("trace_id", ""),
        "span_id": record.span_id.hex() or said.get("span_id", ""),
        "request_id": request[1],
        "node_id": node[1],
    }
    spoken = {each[0] for each in (request, node, component)}
    if "message" in said:  # it is written as Butterfly's nodes write their lines, so it is the line
        line = body if isinstance(body, dict) else json.loads(body)
        rest = {"component": component[1]} | {name(key): text(own[key]) for key in own if key not in spoken}
    else:
        line = {
            "timestamp": datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            + f".{time // 10**6 % 1000:03}Z",
            "level": level,
            **ids,
            "component": component[1] or scope.name,
        }
        line = {key: value for key, value in line.items() if value} | {"message": body}
        line["fields"] = {key: value for key, value in own.items() if key not in spoken}
        rest = {}
    labels = {name(key): text(resource.get(key) or own.get(key)) for key in LABELS} | {"level": level}
    labels = {key: value for key, value in labels.items() if value}
    told = {(key, value) for keys, (_, value) in zip(ROLES, (request, node, component), strict=True) for key in keys}
    rest |= {name(k): text(v) for k, v in resource.items() if k not in LABELS and (k, text(v)) not in told}
    extra = {
        **ids,
        "severity_text": record.severity_text if record.severity_text.lower() != level else "",
        "severity_number": str(record.severity_number) if record.severity_number % 4 != 1 else "",
        "observed_timestamp": str(record.observed_time_unix_nano) if record.observed_time_unix_nano != time else "",
        "event_name": record.event_name,
        "flags": str(record.flags),
        "dropped_attributes_count": str(record.dropped_attributes_count),
        "scope_name": scope.name,
        "scope_version": scope.version,
        **{name(each.key): text(plain(each.value)) for each in scope.attributes},
    }
    rest |= {key: value for key, value in extra.items() if value not in ("", "0")}
    return time, ordered(labels), ordered(line), ordered({key: value for key, value in rest.items() if value})


def members(body: Any) -> dict[str, str]:
    """Texts in a body that is an object or the JSON text of one."""
    try:
        found = body if isinstance(body, dict) else json.loads(body)
    except (TypeError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def role(keys: tuple[str, ...], own: dict[str, Any], said: dict[str, str], resource: dict[str, Any]) -> tuple[str, str]:
    """The key and the value that the record's attributes give, or its body, or its resource. The key is empty where
    it is the body."""
    for key in keys:
        if own.get(key):
            return key, text(own[key])
    for key in keys:
        if said.get(key):
            return "", said[key]
    return next(((key, text(resource[key])) for key in keys if resource.get(key)), ("", ""))


def stored_entries(victoria_logs: Any, query: str = "*") -> Counter[Entry]:
    """What a `VictoriaLogs` of the tests has, in the same form."""
    found: Counter[Entry] = Counter()
    for each in victoria_logs.entries(query):
        stamp, line, stream = each.pop("_time"), each.pop("_msg"), each.pop("_stream")
        del each["_stream_id"]
        labels = {key: each.pop(key) for key in re.findall(r'[{,](\w+)="', stream)}
        found[nanoseconds(stamp), ordered(labels), ordered(json.loads(line)), ordered(each)] += 1
    return found


def nanoseconds(stamp: str) -> int:
    seconds, _, rest = stamp.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(seconds + "+00:00").timestamp()) * 10**9 + int(f"{rest:0<9}"[:9])


def ordered(members: Any) -> str:
    return json.dumps(whole(members), sort_keys=True)


def whole(value: Any) -> Any:
    """JSON has one kind of number: 202.0 is 202."""
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def by_name(severity: str) -> str:
    return severity.lower() if severity.lower() in LEVELS else "unknown"


def name(key: str) -> str:
    """Of a label or a piece of structured metadata."""
    found = re.sub(r"[^a-zA-Z0-9_]", "_", key)
    return f"key_{found}" if found[:1].isdigit() else found


def text(value: Any) -> str:
    """A value of JSON outside of JSON."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(whole(value), separators=(",", ":"))


def plain(value: Any) -> Any:
    """An AnyValue as JSON has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: plain(each.value) for each in value.kvlist_value.values}
    if kind == "bytes_value":
        return b64encode(value.bytes_value).decode()
    return getattr(value, kind) if kind else None
