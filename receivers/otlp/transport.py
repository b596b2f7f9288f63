"""The narrow waist between a transport and the OTLP rules: requests in, one answer each when it is safe to
give it.

A transport owns sockets, framing, decompression and the encoding of answers. It knows nothing of spans, points and
records: it finds the door by the name of a method or by a path. For every request it calls `Door.authorize`,
`Door.admit` before it decodes anything, then `Door.export`; it gives the peer the one `Answer` that comes back, and
reports it with `Door.record`. A compiled transport needs no more than this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.api import Permit

    Record = Callable[[str, "Answer", float], None]
    """Counts an answer of a transport (by name) that was given so many seconds after its request began."""


INLINE = 256 << 10
"""The most bytes that `Door.export` may be called with on the event loop's thread: well under a millisecond for real
telemetry, a few for the worst.
"""


class Kind(Enum):
    """How a request's payload is written."""

    PROTOBUF = "protobuf"
    JSON = "json"


class Code(IntEnum):
    """The canonical status codes that a receiver answers with (google.rpc.Code)."""

    OK = 0
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is told. `message` is for the person who runs the sender and holds nothing of the
    payload.

    `outcome` is the metric label, from a closed set. `bad_ids` and `undeliverable` count the items that were
    refused for good although the request as a whole was taken. `retry_after_ns` goes with UNAVAILABLE alone.
    """

    code: Code
    outcome: str
    message: str = ""
    retry_after_ns: int = 0
    bad_ids: int = 0
    undeliverable: int = 0

    @property
    def rejected(self) -> int:
        """Items that the sender must not send again."""
        return self.bad_ids + self.undeliverable


class RefusedError(Exception):
    """The request goes no further; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.outcome)
        self.answer = answer


class Door(Protocol):
    """The rules' side, for one signal. Thread-safe."""

    @property
    def rejected(self) -> str:
        """What JSON calls the number of refused items in `partial_success`."""

    @property
    def record(self) -> Record:
        """Counts the answer to a request for this door."""

    def authorize(self, authorization: str | bytes | None) -> None:
        """Check the value of the `authorization` header. Raises `RefusedError`."""

    def admit(self, size: int) -> Permit:
        """Room for a request of `size` wire bytes. Raises `RefusedError`."""

    def grow(self, permit: Permit, size: int) -> None:
        """Room for `size` bytes more. Raises `RefusedError`; the permit is then released."""

    def export(self, payload: bytes, kind: Kind, permit: Permit, answer: Callable[[Answer], None]) -> None:
        """Check one decompressed request and hand it over; ends the permit.

        `answer` is called exactly once: before this returns, or later on the event loop's thread. It must not
        block. Takes time in proportion to the payload. Never raises.
        """


class Transport(ABC):
    """One listener."""

    name: ClassVar[str]
    """The metric label."""

    @property
    @abstractmethod
    def port(self) -> int:
        """The port that is listened on, once started."""

    @abstractmethod
    async def start(self) -> None:
        """Listen. Raises `OSError` naming the endpoint when it can't."""

    @abstractmethod
    async def stop(self, grace: float) -> None:
        """Take no new request, answer those that were taken, within `grace` seconds."""
