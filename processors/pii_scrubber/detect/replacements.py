"""What stands in for a finding: the name of its kind, or a hash of what was found."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from processors.pii_scrubber.detect.kinds import BLOCKED, FIRST_CUSTOM, Kind

Replace = Callable[[int, bytes], bytes]
"""(kind, found bytes) -> replacement."""

_MARKERS = {int(kind): f"[{kind.name.lower()}]".encode() for kind in Kind} | {BLOCKED: b"****"}

HASH_FUNCTIONS = ("md5", "sha1", "sha3", "hmac-sha256", "hmac-sha512")
"""The names that the Collector's `redaction` processor gives them; its `sha3` is SHA3-256."""


def marker(kind: int, found: bytes) -> bytes:
    """`[email]`, `[card]`, ...; `****` for a blocked value, as the Collector has it; `[custom]` for a pattern's."""
    del found
    return b"[custom]" if kind >= FIRST_CUSTOM else _MARKERS[kind]


def hashed(function: str, key: bytes = b"") -> Replace:
    """Replace by the hash of what was found, in hexadecimal digits. The `hmac-` functions need a `key`.

    Without a key a hash of a phone or card number is found again by trying them all: prefer `hmac-sha256`.
    """
    if function not in HASH_FUNCTIONS:
        raise ValueError(f"hash_function must be one of {', '.join(HASH_FUNCTIONS)}")
    if function.startswith("hmac-"):
        if not key:
            raise ValueError(f"{function} needs a key")
        digest = function.removeprefix("hmac-")

        def keyed(kind: int, found: bytes) -> bytes:
            del kind
            return hmac.digest(key, found, digest).hex().encode()

        return keyed
    name = "sha3_256" if function == "sha3" else function

    def plain(kind: int, found: bytes) -> bytes:
        del kind
        return hashlib.new(name, found, usedforsecurity=False).hexdigest().encode()

    return plain
