"""Receivers take telemetry in. They speak a protocol and nothing else: admission, merging and acks are the graph's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from collector.batch import ANONYMOUS, Context, Signal
from collector.component.base import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from collector.ack import Outcome


class Permit(Protocol):
    """Room that was granted for one request. End it with exactly one of `submit` and `release`. Thread-safe."""

    def grow(self, size: int) -> None:
        """Ask for `size` more bytes (a body that turned out larger than its wire size). Raises `Overloaded`."""

    def submit(
        self,
        payload: bytes,
        *,
        count: int,
        on_done: Callable[[Outcome, str, int], None],
        context: Context = ANONYMOUS,
    ) -> None:
        """Hand over one OTLP request of `count` items that the wire scanner has accepted.

        Returns at once. `on_done(outcome, reason, refused)` is called exactly once, on the event loop's thread, when
        everything that must own the data owns it (DELIVERED, FILTERED), when it can be sent again (RETRY), or when
        nobody will ever take `refused` of its items (REJECTED: they are in the dead letter, the others are owned, and
        the sender is done with all). Of requests that were joined `refused` is the most that it can be.
        """

    def release(self) -> None:
        """Give the room back without handing anything over (a malformed request)."""


class Intake(Protocol):
    """Where a receiver delivers one signal. Thread-safe."""

    def admit(self, size: int) -> Permit:
        """Room for a request of `size` wire bytes. Call it before anything is decompressed or decoded.

        Raises `Overloaded` with the time to wait where there is none.
        """


class Receiver(Component):
    """Base of receivers."""

    async def start(self, intakes: Mapping[Signal, Intake]) -> None:
        """Begin to take the signals of `intakes`, answering the others as the protocol says for "not served here".

        Raises `OSError` and the like when it can't listen; the service then does not start.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Take nothing new, answer what was taken, then return. The graph still runs meanwhile."""
        raise NotImplementedError
