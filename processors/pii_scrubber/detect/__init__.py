"""What in a value must not go on: built-in kinds by compiled machines, the user's patterns by RE2."""

from processors.pii_scrubber.detect.detectors import ValueDetectors
from processors.pii_scrubber.detect.kinds import BLOCKED, FIRST_CUSTOM, KIND_NAMES, Finding, Kind
from processors.pii_scrubber.detect.patterns import CustomPattern
from processors.pii_scrubber.detect.replacements import HASH_FUNCTIONS, Replace, hashed, marker

__all__ = [
    "BLOCKED",
    "FIRST_CUSTOM",
    "HASH_FUNCTIONS",
    "KIND_NAMES",
    "CustomPattern",
    "Finding",
    "Kind",
    "Replace",
    "ValueDetectors",
    "hashed",
    "marker",
]
