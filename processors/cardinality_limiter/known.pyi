LIMITS: tuple[str, ...]
"""What a point was refused by; the last is an overflow that the sender itself made."""

def keyed_hash(key: bytes, data: bytes) -> tuple[int, int]:
    """The hash that series are looked up by: SipHash-1-3 of 128 bits under 16 bytes of key, as (high, low)."""

class Known:
    """The series that are active, and what they are to one another. `Limiter` is its public form."""
