"""What the `loki` exporter's encoder must make of a request, in plain Python on protobuf's objects."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime

LEVELS = ("unknown", "trace", "debug", "info", "warn", "error", "fatal")
WORDS = {
    "information": "info",
    "notice": "info",
    "warning": "warn",
    "err": "error",
    **dict.fromkeys(("critical", "crit", "alert", "emergency", "panic"), "fatal"),
    **{word: word for word in LEVELS},
}
_CONTROL = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def number_text(value):
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    text = repr(value)
    return text.removesuffix(".0")


def json_text(value):
    """JSON of an AnyValue, keys in their order and as often as they are there."""
    kind = value.WhichOneof("value")
    if kind is None or kind == "string_value_strindex":
        return "null"
    if kind == "string_value":
        return string(value.string_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        text = number_text(value.double_value)
        return f'"{text}"' if text[-1] in "Ny" else text
    if kind == "bytes_value":
        return f'"{base64.b64encode(value.bytes_value).decode()}"'
    if kind == "array_value":
        return f"[{','.join(json_text(each) for each in value.array_value.values)}]"
    pairs = value.kvlist_value.values
    return "{" + ",".join(f"{string(pair.key)}:{json_text(pair.value)}" for pair in pairs) + "}"


def string(text):
    return json.dumps(text, ensure_ascii=False)


def text_of(value):
    kind = value.WhichOneof("value")
    if kind is None or kind == "string_value_strindex":
        return ""
    if kind == "string_value":
        return value.string_value
    return json_text(value).strip('"') if kind in {"double_value", "bytes_value"} else json_text(value)


def label_name(key):
    name = re.sub(r"[^a-zA-Z0-9_]", "_", key) or "_"
    return "key_" + name if name[0] in "0123456789" else name


def quoted(text):
    out = []
    for char in text:
        code = ord(char)
        out.append(_CONTROL.get(code) or (f"\\x{code:02x}" if code < 32 or code == 127 else char))
    return '"' + "".join(out) + '"'


def cut(text, most):
    raw = text.encode()
    return text if len(raw) <= most else raw[:most].decode(errors="ignore")


def cut_json(text, room):
    """The longest beginning of `text` that takes at most `room` bytes between the quotes of a JSON string."""
    kept = 0
    for n, char in enumerate(text):
        kept += len(string(char).encode()) - 2
        if kept > room:
            return text[:n]
    return text


def unique(attributes):
    """The attributes, each key once: the first of those that share it."""
    found = {}
    for each in attributes:
        found.setdefault(each.key, each.value)
    return found


class Reference:
    """Encodes by a `Plan`; `admit(labels)` says which streams there may be."""

    def __init__(self, plan, admit=lambda labels: True):
        self.plan = plan
        self.admit = admit
        self.slots = [each for each in plan.labels if each != "level"]
        self.names = {name for name, _ in plan.static_labels} | {label_name(each) for each in plan.labels}
        self.roles = (plan.request_id, plan.node_id, plan.component, ("trace_id",), ("span_id",))

    def encode(self, request, now):
        """([(labels, time, line, metadata)] in Loki's order, [why each row is refused, or nothing])."""
        self.admitted = {}
        entries, refused = [], []
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    made = self.record(resource.resource, scope.scope, record, now)
                    refused.append(made if isinstance(made, str) else "")
                    if not isinstance(made, str):
                        entries.append((*made, len(refused) - 1))
        entries.sort(key=lambda each: (each[0].encode(), each[1], each[4]))
        return entries, refused

    def role(self, attributes, role):
        for key in self.roles[role]:
            if key in attributes and text_of(attributes[key]):
                return key
        return None

    def metadata_name(self, key):
        name = label_name(key)
        return name + "_extracted" if name in self.names else name

    def listed(self, name):
        return self.plan.metadata is None or name in self.plan.metadata

    def record(self, resource, scope, record, now):
        limits = self.plan.limits
        time = record.time_unix_nano or record.observed_time_unix_nano
        if time and limits.max_age and now - time > limits.max_age:
            return "too_old"
        if time and limits.max_ahead and time - now > limits.max_ahead:
            return "too_far_ahead"
        time = time or now
        own, shared = unique(record.attributes), unique(resource.attributes)
        level = (
            LEVELS[(record.severity_number + 3) // 4]
            if 0 < record.severity_number <= 24
            else WORDS.get(record.severity_text.lower(), "unknown")
        )
        values, taken = {}, set()
        for key in self.slots:
            value = cut(text_of(shared[key]), limits.max_label_value_length) if key in shared else ""
            if not value and key in own:
                value = cut(text_of(own[key]), limits.max_label_value_length)
                if value:
                    taken.add(key)
            values[label_name(key)] = value
        labels = self.labels({**dict(self.plan.static_labels), **values}, level)
        collapsed = not self.admitted.setdefault(labels, self.admit(labels))
        if collapsed:
            labels = self.labels({**dict(self.plan.static_labels), "butterfly_overflow": "true"}, level)
        members = body_members(record.body)
        ids = {3: identity(record.trace_id, 16), 4: identity(record.span_id, 8)}
        roles, in_roles, own_roles = [], set(), {}
        for role in range(5):
            if ids.get(role):
                roles.append(ids[role])
                continue
            key, common = self.role(own, role), self.role(shared, role) if role < 3 else None
            within = next((members[key] for key in self.roles[role] if members.get(key)), "")
            roles.append(text_of(own[key]) if key else within or (text_of(shared[common]) if common else ""))
            if key:
                in_roles.add(key)
            if common and text_of(shared[common]) != roles[-1]:
                own_roles[common] = text_of(shared[common])
        in_line = self.plan.json_line and "message" not in members
        line, shortened = self.line(record, scope, own, in_roles, roles, level, time, in_line)
        if line is None:
            return "line_too_long"
        pairs = self.pairs(
            record,
            scope,
            own,
            shared,
            values if collapsed else {},
            taken | in_roles,
            roles,
            own_roles,
            level,
            time,
            in_line,
        )
        if shortened:
            pairs.insert(pairs.index(None), ("line_truncated", "true"))
        return labels, time, line, self.fit(pairs)

    def labels(self, values, level):
        if "level" in self.plan.labels:
            values["level"] = level
        pairs = ", ".join(f"{name}={quoted(values[name])}" for name in sorted(values) if values[name])
        return "{" + (pairs or 'butterfly_unlabelled="true"') + "}"

    def line(self, record, scope, own, in_roles, roles, level, time, in_line):
        most = self.plan.limits.max_line_size
        if not in_line:
            text = text_of(record.body)
            long = len(text.encode()) > most
            return (cut(text, most), long) if self.plan.limits.truncate_lines or not long else (None, True)
        message = '""' if record.body.WhichOneof("value") in {None, "string_value_strindex"} else json_text(record.body)
        when = datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{time // 10**6 % 1000:03}Z"
        head = f'{{"timestamp":"{when}","level":"{level}","message":'
        members = [
            ("trace_id", roles[3]),
            ("span_id", roles[4]),
            ("request_id", roles[0]),
            ("node_id", roles[1]),
            ("component", roles[2] or scope.name),
        ]
        tail = "".join(f',"{name}":{string(value)}' for name, value in members if value)
        fields = ",".join(f"{string(key)}:{json_text(value)}" for key, value in own.items() if key not in in_roles)
        tail += f',"fields":{{{fields}}}}}'
        line = head + message + tail
        if len(line.encode()) <= most:
            return line, False
        room = most - len((head + tail).encode()) - 2
        if room < 0 or not self.plan.limits.truncate_lines:
            return None, True
        text = record.body.string_value if record.body.HasField("string_value") else message
        return head + string(cut_json(text, room)) + tail, True

    def pairs(self, record, scope, own, shared, collapsed, spent, roles, own_roles, level, time, json_line):
        everything = self.plan.metadata is None
        pairs = [("trace_id", roles[3]), ("span_id", roles[4])]
        pairs += [("request_id", roles[0]), ("node_id", roles[1])]
        if not (everything and json_line) and self.listed("component"):
            pairs.append(("component", roles[2]))
        pairs += collapsed.items()
        if not (everything and json_line):
            pairs += [
                (self.metadata_name(key), text_of(value))
                for key, value in own.items()
                if self.listed(key) and key not in spent
            ]
        pairs += [
            (self.metadata_name(key), value)
            for key, value in own_roles.items()
            if self.listed(key) and key not in self.slots
        ]
        extras = []
        if not (everything and (json_line or "level" in self.plan.labels)):
            extras.append(("level", level))
        if record.severity_text.lower() != level:
            extras.append(("severity_text", record.severity_text))
        number = LEVELS.index(level)
        if record.severity_number and (not number or record.severity_number != 4 * number - 3):
            extras.append(("severity_number", str(record.severity_number)))
        if record.observed_time_unix_nano not in (0, time):
            extras.append(("observed_timestamp", str(record.observed_time_unix_nano)))
        extras.append(("event_name", record.event_name))
        extras += [
            ("flags", str(record.flags or "")),
            ("dropped_attributes_count", str(record.dropped_attributes_count or "")),
        ]
        pairs += [each for each in extras if self.listed(each[0])]
        pairs.append(None)
        named = [("scope_name", scope.name), ("scope_version", scope.version)]
        inner = [*(named if everything else [])]
        inner += [
            (self.metadata_name(key), text_of(value))
            for key, value in unique(scope.attributes).items()
            if self.listed(key)
        ]
        mine = {self.role(shared, role) for role in range(3)}
        outer = [
            (self.metadata_name(key), text_of(value))
            for key, value in shared.items()
            if self.listed(key) and key not in self.slots and key not in mine
        ]
        return pairs + inner + outer

    def fit(self, pairs):
        limits = self.plan.limits
        found, seen, size = {}, set(), 0
        for pair in pairs:
            if pair is None or not pair[1] or pair[0] in seen:
                continue
            seen.add(pair[0])
            length = len(pair[0].encode()) + len(pair[1].encode())
            if (
                len(found) < limits.max_structured_metadata_entries_count
                and size + length <= limits.max_structured_metadata_size
            ):
                found[pair[0]] = pair[1]
                size += length
        return list(found.items())


def body_members(body):
    """Of an object that the body is, in JSON text or as a list of pairs: its first texts by key, others as ""."""
    if body.HasField("kvlist_value"):
        pairs = [(pair.key, pair.value.string_value) for pair in body.kvlist_value.values]
    else:
        try:
            pairs = json.loads(body.string_value, object_pairs_hook=Pairs)
        except ValueError:
            return {}
        if not isinstance(pairs, Pairs):
            return {}
    found = {}
    for key, value in pairs:
        found[key] = found.get(key) or (value if isinstance(value, str) else "")
    return found


class Pairs(list):
    """A JSON object."""


def identity(raw, size):
    return raw.hex() if len(raw) == size and any(raw) else ""
