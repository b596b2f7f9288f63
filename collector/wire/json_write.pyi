from typing import Literal

def to_json(payload: bytes, signal: Literal["traces", "metrics", "logs"] = "traces") -> bytes:
    """One `Export*ServiceRequest` as OTLP/JSON on one line: hex ids, integer enums, 64-bit integers as strings, camelCase,
    default values left out as protobuf's JSON does. Unknown fields are left out. Raises `Malformed`."""
