"""For how long a backend has failed on the same piece of a request, of which the piece may or may not be the cause."""

from __future__ import annotations

from dataclasses import dataclass, field

ALONE = 12
"""Where the backend takes nothing else, a piece is given up after so many times the usual patience: most likely it is
an outage, and not the piece."""


@dataclass(slots=True)
class Failing:
    """Times in seconds, by any clock that never goes back.

    Time counts from one answer that the backend failed to the next, and none while it was away or said something else
    in between: an hour of 503 between two answers 500 is no hour of 500.
    """

    lasted: float = 0.0
    """How long this piece has failed, with what it was a part of before: a reason to look for the cause in it."""
    beside: float = 0.0
    """How long it has failed on its own since the backend was seen to take others: a reason to give it up. What fails
    in an outage, and once more when the first answers are good again, has no such time."""
    _born: float | None = field(default=None, repr=False)
    _last: float | None = field(default=None, repr=False)
    _seen: bool = field(default=False, repr=False)

    def again(self, now: float, taken: float) -> None:
        """The backend has failed on it at `now`, and took something last at `taken`."""
        if self._born is None:
            self._born = now
        if self._last is not None:
            self.lasted += now - self._last
            self.beside += now - self._last if self._seen else 0.0
        self._last = now
        self._seen = self._seen or taken >= self._born

    def interrupted(self) -> None:
        """Something else became of it."""
        self._last = None

    def part(self) -> Failing:
        """That of a part, at first."""
        return Failing(self.lasted, _born=self._last)
