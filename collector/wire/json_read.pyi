from typing import Literal

def from_json(text: bytes, signal: Literal["traces", "metrics", "logs"] = "traces", *, max_depth: int = 32) -> bytes:
    """OTLP/JSON as protobuf bytes, by the rules of the OTLP specification: hex ids of either case, integer enums (their
    names are taken too), 64-bit integers as strings or numbers, camelCase and snake_case names, unknown fields ignored,
    null as absent. `max_depth` is how deep an `AnyValue` may nest. Raises `Malformed` with the path of the offending
    field, never its value.

    A field that is given twice, or two members of a oneof, are refused: taking one of them would lose the other. An
    empty id is an absent one, which the index shows as a defect of that span alone; an id of any other length, such as
    a base64 one, is refused.
    """
