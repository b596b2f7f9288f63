"""The errors that cross component boundaries. Few, typed, and safe to show: no payload, path or secret in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ButterflyError(Exception):
    """Base of every error the gateway raises on purpose."""


class AckError(ButterflyError):
    """An acknowledgement was resolved twice, or used after it was forked or joined. Always a bug in a component."""


class Overloaded(ButterflyError):  # noqa: N818 - a state the sender must wait out, not a fault
    """There is no room for this request now; nothing of it was taken.

    Receivers answer gRPC UNAVAILABLE with RetryInfo, or HTTP 503 with Retry-After, of `retry_after_ns`.
    """

    def __init__(self, reason: str, retry_after_ns: int = 1_000_000_000) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_ns = retry_after_ns


class ExportError(ButterflyError):
    """An exporter's attempt failed. Raise one of the two subclasses."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RetryableExportError(ExportError):
    """The backend may take the same data later. `retry_after_ns` is the backend's own wish, where it gave one."""

    def __init__(self, reason: str, retry_after_ns: int | None = None) -> None:
        super().__init__(reason)
        self.retry_after_ns = retry_after_ns


class RejectedExportError(ExportError):
    """The backend will never take this data.

    `divisible=False` says that the refusal is about the sender and not about the items (a wrong path, a missing
    credential), so that looking for one poisonous item by bisection would be pointless.
    """

    def __init__(self, reason: str, *, divisible: bool = True) -> None:
        super().__init__(reason)
        self.divisible = divisible


class OwnershipLostError(ButterflyError):
    """A durable partition refused a commit or a journal entry because another member owns it now. Never retried."""


class StorageError(ButterflyError):
    """A durable connector cannot write now (disk full, broker away). What was acknowledged before is safe."""


class ConfigError(ButterflyError):
    """The configuration cannot run. `problems` holds every problem found, each a full sentence with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
