"""What the encoder is to do with a record, worked out once from the options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LEVEL = "level"
"""In the list of labels: the severity as one of seven words."""

OVERFLOW = "butterfly_overflow"
"""The label, always "true", of the streams that take what would make too many."""

LEVELS = ("unknown", "trace", "debug", "info", "warn", "error", "fatal")
"""What a severity comes to; the first is for those that say nothing."""

BUILT_IN_NAMES = (
    *("trace_id", "span_id", "request_id", "node_id", "component", "level", "severity_text", "severity_number"),
    *("observed_timestamp", "event_name", "flags", "dropped_attributes_count", "scope_name", "scope_version"),
    "line_truncated",
)
"""Names of structured metadata that come from a record's own fields, in the order of the enum in `records.pxd`."""

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


def label_name(attribute: str) -> str:
    """The attribute's name as the name of a label: what isn't a letter of ASCII, a digit or `_` becomes `_`."""
    name = _NOT_IN_NAMES.sub("_", attribute) or "_"
    return f"key_{name}" if name[0].isdigit() else name


@dataclass(frozen=True)
class Limits:
    """What Loki would refuse, see `LimitOptions`. 0 is no limit of ages."""

    max_line_size: int = 256 << 10
    truncate_lines: bool = True
    max_label_value_length: int = 2048
    max_structured_metadata_size: int = 64 << 10
    max_structured_metadata_entries_count: int = 128
    max_age: int = 168 * 3600 * 10**9
    max_ahead: int = 600 * 10**9


@dataclass(frozen=True)
class Plan:
    """`labels` are attributes or `LEVEL`; `metadata` of None is everything that is neither a label nor in the line."""

    labels: tuple[str, ...] = ("service.name", "service.namespace", LEVEL)
    static_labels: tuple[tuple[str, str], ...] = ()
    metadata: frozenset[str] | None = None
    json_line: bool = True
    request_id: tuple[str, ...] = ("request_id", "butterfly.request.id")
    node_id: tuple[str, ...] = ("node_id", "butterfly.node.id")
    component: tuple[str, ...] = ("component", "butterfly.component")
    limits: Limits = field(default_factory=Limits)

    @property
    def roles(self) -> tuple[tuple[str, ...], ...]:
        """The keys that give each of `request_id`, `node_id`, `component`, `trace_id`, `span_id`, the best first."""
        return (self.request_id, self.node_id, self.component, ("trace_id",), ("span_id",))
