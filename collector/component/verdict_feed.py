"""Verdicts of samplers in other processes, as they become durable there."""

from __future__ import annotations

from abc import ABC, abstractmethod


class VerdictFeed(ABC):
    """Publishes what the journals of one reader hold, and what is written to them, whichever processes own them.

    At least what a restart of their owners would still know is published, then everything new, each journal's in its
    order; some of it again after a disturbance. Nothing that a restart of its owner would not go by is.
    """

    @abstractmethod
    async def start(self) -> None:
        """Begin in the background, and go on for ever: a log that can't be read now is no error."""

    @abstractmethod
    async def stop(self) -> None:
        """End within two seconds."""

    @abstractmethod
    def obstacle(self) -> str | None:
        """Why nothing is heard, for a person; None while all is well."""
