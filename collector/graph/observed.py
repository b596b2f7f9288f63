"""How many items the head saw at each position that the tail has not reached: what a damaged record took with it."""

from __future__ import annotations

from collections import deque


class Observed:
    """One small number a record between the two positions; positions come in order, gaps count 0."""

    def __init__(self, start: int) -> None:
        self._first = start
        self._counts: deque[int] = deque()

    def add(self, position: int, count: int) -> None:
        """The head saw `count` items at `position`."""
        gap = position - self._first - len(self._counts)
        self._counts.extend([0] * gap)
        self._counts.append(count)

    def take(self, upto: int) -> int:
        """Forget everything before `upto`; return how many items that was."""
        total = 0
        while self._first < upto and self._counts:
            total += self._counts.popleft()
            self._first += 1
        self._first = max(self._first, upto)
        return total
