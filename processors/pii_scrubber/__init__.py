"""`pii_scrubber` and the Collector's `redaction`: personal data leaves no batch that passes through."""

from processors.pii_scrubber.processor import PiiScrubber
from processors.pii_scrubber.redaction import Redaction

__all__ = ["PiiScrubber", "Redaction"]
