"""`pii_scrubber` and the Collector's `redaction`: personal data leaves no batch that passes through."""

from processors.pii_scrubber.processor import PiiScrubber

__all__ = ["PiiScrubber"]
