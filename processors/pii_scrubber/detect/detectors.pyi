from collections.abc import Collection, Sequence

from processors.pii_scrubber.detect.kinds import Finding
from processors.pii_scrubber.detect.patterns import CustomPattern
from processors.pii_scrubber.detect.replacements import Replace

class ValueDetectors:
    def __init__(
        self,
        kinds: Collection[str],
        custom: Sequence[CustomPattern] = (),
        *,
        allowed_values: Sequence[str] = (),
        blocked_values: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> None: ...
    def find(self, value: bytes) -> list[Finding]: ...
    def scrub(self, value: bytes) -> bytes | None: ...
    def replacement(self, kind: int, found: bytes) -> bytes: ...

def may_hold(detectors: ValueDetectors, value: bytes) -> bool: ...
def nanoseconds_to_look(detectors: ValueDetectors, values: list[bytes], rounds: int) -> tuple[float, int]: ...
