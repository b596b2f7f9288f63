"""The trace context of a log record, where its SDK left it among the attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL)
_TRACE_ID = re.compile(rb"[0-9a-fA-F]{32}")
_SPAN_ID = re.compile(rb"[0-9a-fA-F]{16}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Ids as bytes; the span's may be missing, and is then empty."""

    trace_id: bytes
    span_id: bytes = b""
    flags: int = 0

    def to_fields(self) -> bytes:
        """The fields `flags`, `trace_id` and `span_id` of a `LogRecord`, to be put behind its others."""
        flags = b"\x45" + self.flags.to_bytes(4, "little") if self.flags else b""
        span = b"\x52\x08" + self.span_id if self.span_id else b""
        return flags + b"\x4a\x10" + self.trace_id + span


def from_traceparent(text: bytes) -> TraceContext | None:
    """A `traceparent` by the W3C recommendation: version 00, or what a later version may be read as."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (text.startswith(b"00") and len(text) != found.end(3)):
        return None
    trace_id, span_id = (bytes.fromhex(found[group].decode()) for group in (1, 2))
    if not any(trace_id) or not any(span_id):
        return None
    return TraceContext(trace_id, span_id, int(found[3], 16))


def from_ids(trace_id: bytes, span_id: bytes) -> TraceContext | None:
    """A trace ID in hex and, where it is one, a span ID."""
    if not _TRACE_ID.fullmatch(trace_id) or not any(trace := bytes.fromhex(trace_id.decode())):
        return None
    span = bytes.fromhex(span_id.decode()) if _SPAN_ID.fullmatch(span_id) else b""
    return TraceContext(trace, span if any(span) else b"")
