from typing import Literal

SignalName = Literal["traces", "metrics", "logs"]

def to_json(payload: bytes, signal: SignalName = "traces") -> bytes:
    """One `Export*ServiceRequest` as OTLP/JSON on one line: hex ids, integer enums, 64-bit integers as strings, camelCase,
    default values left out as protobuf's JSON does. Unknown fields are left out. Raises `Malformed`."""

def from_json(text: bytes, signal: SignalName = "traces", *, max_depth: int = 32) -> bytes:
    """OTLP/JSON as protobuf bytes, by the rules of the OTLP specification: hex ids of either case, integer enums (their
    names are taken too), 64-bit integers as strings or numbers, camelCase and snake_case names, unknown fields ignored,
    null as absent. Raises `Malformed` with the path of the offending field, never its value."""
