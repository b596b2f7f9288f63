"""What became of each item of one batch on its way to every exporter of a pipeline.

An acknowledgement speaks of a batch as a whole, and its worst outcome wins. The books are kept item by item by the same
rule: an item counts once, with the worst that any exporter made of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from collector.ack import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

End = tuple[Outcome, str]
"""An outcome and its reason."""

_DELIVERED: End = (Outcome.DELIVERED, "")


class ItemOutcomes:
    """Notes about `count` items, numbered as the batch's selected items are. What nobody notes was delivered.

    Costs nothing until something is noted: that is the rare case.
    """

    __slots__ = ("_ends", "_of_item", "_some", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self._ends: list[End] = [_DELIVERED]
        self._of_item: NDArray[np.uint16] | None = None
        self._some: Counter[End] = Counter()

    @property
    def noted(self) -> bool:
        """Whether anything is noted."""
        return self._of_item is not None or bool(self._some)

    @property
    def refused(self) -> int | None:
        """How many items are noted as REJECTED; None when nothing is noted, and so a batch's outcome is that of all."""
        if not self.noted:
            return None
        return sum(items for (outcome, _), items in self.totals().items() if outcome is Outcome.REJECTED)

    def note(self, rows: NDArray[np.bool_] | None, outcome: Outcome, reason: str) -> None:
        """The items where `rows` holds, or all of them, ended so at one exporter. Of equal outcomes the first stays."""
        if self._of_item is None:
            self._of_item = np.zeros(self.count, np.uint16)
        severity = np.array([end[0] for end in self._ends], np.uint8)
        worse = severity[self._of_item] < outcome
        self._of_item[worse if rows is None else worse & rows] = self._number((outcome, reason))

    def note_some(self, items: int, outcome: Outcome, reason: str) -> None:
        """`items` ended so at one exporter, and nobody knows which."""
        if items:
            self._some[outcome, reason] += items

    def totals(self) -> Counter[End]:
        """How many items ended how; all of them together are `count`.

        Exact where it is known which items are meant, or one exporter alone has noted something. Otherwise those that
        nobody knows are taken to be others than those that are noted, as far as there are others: rather one too few is
        called delivered than one too many.
        """
        totals: Counter[End] = Counter()
        if self._of_item is None:
            totals[_DELIVERED] = self.count
        else:
            for number, items in enumerate(np.bincount(self._of_item, minlength=len(self._ends)).tolist()):
                totals[self._ends[number]] += items
        for end, items in self._some.items():
            moved = min(items, totals[_DELIVERED])
            totals[_DELIVERED] -= moved
            totals[end] += moved
        return +totals

    def _number(self, end: End) -> int:
        if end not in self._ends:
            self._ends.append(end)
        return self._ends.index(end)
