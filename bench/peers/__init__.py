"""The programs that are measured: ours, and those it is compared with, each at its own best settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bench.rows import Row

CACHE = Path.home() / ".cache" / "butterfly-servers"
"""Programs that were fetched or built, kept outside the checkout."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs: a directory of its own, and three free ports on localhost."""

    directory: Path
    listen: int
    sink: int
    spare: int


class Peer(Protocol):
    """One program under measurement."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """Why it can't run here; None when it can."""

    def plays(self, row: Row) -> bool:
        """Has it what the row asks for?"""

    def command(self, row: Row, place: Place) -> list[str]:
        """Write its configuration into the directory and say how it is started."""
