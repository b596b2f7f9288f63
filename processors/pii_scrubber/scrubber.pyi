from collections.abc import Callable
from typing import Literal

from processors.pii_scrubber.detect import ValueDetectors
from processors.pii_scrubber.key_rules import KeyRules
from processors.pii_scrubber.walk_state import Walk

KINDS_BY_NUMBER: dict[int, str]
"""What the counts call the built-in kinds of findings."""

class Scrubber(Walk):
    """Scrubs OTLP requests on their bytes. One request at a time; not for several threads at once.

    `digest(value)` gives at most 64 bytes, which stand as hex digits behind `prefix`. `allowed(value)`, where given,
    says of a value that a rule would change whether it stays. Detectors
    look at values of at most `longest` bytes, and at numbers too where `numbers` says so.
    """

    def __init__(
        self,
        detectors: ValueDetectors,
        rules: KeyRules,
        *,
        digest: Callable[[bytes], bytes],
        prefix: bytes = b"",
        allowed: Callable[[bytes], bool] | None = None,
        longest: int = 262144,
        numbers: bool = False,
    ) -> None: ...
    def scrub(self, signal: Literal["traces", "metrics", "logs"], payload: bytes) -> bytes | None:
        """One `Export*ServiceRequest` without what must not go on, or None when nothing of it changes.

        Lengths and nesting are right, fields that OTLP doesn't know are kept, all else is as it was, byte by byte. A
        value that can't be scrubbed is redacted whole. Raises `Malformed` where the bytes can't be walked.
        """
    def take_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Values changed, by rule or kind, and values redacted because they could not be scrubbed, by reason, since the
        last call."""
    def look(self, text: bytes) -> bytes | None:
        """What detectors make of a text, or None when they find nothing. Counted."""
