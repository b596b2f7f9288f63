MAX_PAYLOAD: int
"""Largest payload that is indexed, 2**31 - 1 bytes."""

class Malformed(ValueError):
    """The bytes are not an OTLP request that protobuf would accept (or exceed a limit). The message holds no payload."""
