from typing import Protocol, final

from exporters.loki.entries import Entries
from exporters.loki.plan import Plan

REFUSALS: tuple[str, ...]
"""Why a record can't become an entry; number 0 stands for those that did."""
ADJUSTMENTS: tuple[str, ...]
"""What is changed so that Loki takes an entry, in the order of `Entries.adjusted`."""

class Admission(Protocol):
    """Which streams may be written to."""

    def admit(self, labels: bytes) -> bool: ...

@final
class Encoder:
    """Makes entries of `ExportLogsServiceRequest` bytes by one `Plan`. Not for several threads."""

    def __init__(self, plan: Plan, admission: Admission) -> None: ...
    def encode(self, payload: bytes, now: int) -> Entries:
        """`now`, in nanoseconds since 1970, is what ages are measured from, and the time of records without one.

        Raises `ValueError` where the payload isn't OTLP, or has values more than 64 deep.
        """
