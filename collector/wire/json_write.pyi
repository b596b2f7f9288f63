from collections.abc import Callable
from typing import Literal

def to_json(payload: bytes, signal: Literal["traces", "metrics", "logs"] = "traces") -> bytes:
    """One `Export*ServiceRequest` as OTLP/JSON on one line: hex ids, integer enums, 64-bit integers as strings, camelCase,
    default values left out as protobuf's JSON does. Unknown fields are left out. Raises `Malformed`."""

def write_json(
    payload: bytes, write: Callable[[bytes], object], signal: Literal["traces", "metrics", "logs"] = "traces"
) -> None:
    """What `to_json` gives, in pieces of about 256 KiB, each of which `write` is called with in turn: the text can be seven
    times as long as `payload`, and is never in memory as a whole. What `write` raises ends it and is raised; `Malformed`
    may come after some pieces."""
