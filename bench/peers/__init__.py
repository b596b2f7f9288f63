"""The programs that are measured: ours, and those it is compared with, each at its own best settings."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.processes import Measured, Together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

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

    def plays(self, row: Row) -> Row | None:
        """What it runs for `row`: the row itself, `row.bare` where it has nothing of the kind, None for not at all."""

    def running(self, row: Row, place: Place, core: int) -> AbstractContextManager[Together]:
        """Write its configuration into the directory and start it; it takes connections on `place.listen` then.

        Raises `RuntimeError` with the reason when it doesn't.
        """


@contextmanager
def alone(command: list[str], place: Place, core: int) -> Iterator[Together]:
    """A program that is one process."""
    with Measured(command, place.directory / "program.log", core=core) as program:
        program.wait_for_port(place.listen)
        yield Together({"": program})
