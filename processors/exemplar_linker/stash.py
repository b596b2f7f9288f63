"""The last exemplars of kept traces, to be put in the place of those that go."""

from __future__ import annotations

from collections import OrderedDict

LARGEST = 1024
"""Bytes of an exemplar that is remembered; a larger one is just forgotten."""

Place = tuple[int, int]
"""A series, by its hash, and a bucket of it."""


class Stash:
    """One exemplar a place, as the bytes of its field, the place that was longest not asked for out first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._exemplars: OrderedDict[Place, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._exemplars)

    def put(self, place: Place, exemplar: bytes) -> None:
        """`exemplar` is the newest of a kept trace there."""
        if self._size and len(exemplar) <= LARGEST:
            self._exemplars[place] = exemplar
            self._exemplars.move_to_end(place)
            if len(self._exemplars) > self._size:
                self._exemplars.popitem(last=False)

    def get(self, place: Place) -> bytes | None:
        """The newest there, if any is known."""
        found = self._exemplars.get(place)
        if found is not None:
            self._exemplars.move_to_end(place)
        return found
