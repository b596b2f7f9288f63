"""The ledger: every item that entered a pipeline is somewhere, and the books say where.

    accepted = delivered + filtered(reason) + dead_lettered(reason) + returned(reason) + lost(reason) + held

holds at every moment. An item counts once, when every exporter of the pipeline is done with its batch: `delivered` is
what all of them took, `dead_lettered` what at least one refused for good, whether or not others have it.
`returned` is what went back to the sender, or stays in the log, with a retryable answer: it will come again.
`lost` is what a durable connector found damaged, or what a stop without one could neither deliver nor dead-letter.
`held` is counted up and down by itself and not computed from the others, so that a mistake shows (`imbalance()`).
All figures count items (spans, data points, log records) and are touched on the event loop's thread alone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from collector.ack import Outcome

if TYPE_CHECKING:
    from collector.telemetry.item_outcomes import ItemOutcomes


class Account:
    """The books of one pipeline."""

    __slots__ = ("accepted", "dead_lettered", "delivered", "filtered", "held", "lost", "pipeline", "returned")

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self.accepted = 0
        self.delivered = 0
        self.filtered: Counter[str] = Counter()
        self.dead_lettered: Counter[str] = Counter()
        self.returned: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.held = 0

    def accept(self, items: int) -> None:
        """`items` entered the pipeline."""
        self.accepted += items
        self.held += items

    def deliver(self, items: int) -> None:
        """Every exporter of the pipeline has `items`."""
        self.delivered += items
        self.held -= items

    def filter(self, items: int, reason: str) -> None:
        """A processor removed `items` on purpose."""
        self.filtered[reason] += items
        self.held -= items

    def dead_letter(self, items: int, reason: str) -> None:
        """`items` are in the dead letter; no backend takes them."""
        self.dead_lettered[reason] += items
        self.held -= items

    def give_back(self, items: int, reason: str) -> None:
        """`items` were answered with a retryable error; their sender owns them again."""
        self.returned[reason] += items
        self.held -= items

    def lose(self, items: int, reason: str) -> None:
        """`items` can't be read back from the log, or are owned by nobody any more."""
        self.lost[reason] += items
        self.held -= items

    def mark(self) -> tuple[int, int, Counter[str]]:
        """The books as far as a processor writes them, for `rewind`."""
        return self.accepted, self.held, self.filtered.copy()

    def rewind(self, mark: tuple[int, int, Counter[str]]) -> None:
        """Forget what a processor has booked since `mark`: it failed, and what it returned is void."""
        self.accepted, self.held, self.filtered = mark

    def settle(self, items: int, outcome: Outcome, reason: str) -> None:
        """Book `items` by the outcome of their acknowledgement."""
        if outcome is Outcome.DELIVERED:
            self.deliver(items)
        elif outcome is Outcome.FILTERED:
            self.filter(items, reason or "downstream")
        elif outcome is Outcome.RETRY:
            self.give_back(items, reason or "unavailable")
        else:
            self.dead_letter(items, reason or "rejected")

    def settle_each(self, items: ItemOutcomes, outcome: Outcome, reason: str, *, owned: bool = True) -> None:
        """Book the items of a batch, each by its own outcome, when `outcome` is that of the batch as a whole.

        Where nothing is noted of any item, the outcome is that of all. What is to come again comes again whole, unless
        its sender was told before that it is safe and isn't its owner any more (not `owned`): then it is lost.
        """
        if outcome is Outcome.RETRY and owned:
            self.give_back(items.count, reason or "unavailable")
            return
        ends = items.totals() if items.noted else Counter({(outcome, reason): items.count})
        for (end, why), count in ends.items():
            if end is Outcome.RETRY:
                self.lose(count, why or "unavailable")
            else:
                self.settle(count, end, why)

    def imbalance(self) -> int:
        """0, or the number of items the books have lost (> 0) or invented (< 0)."""
        settled = self.delivered + sum(
            books.total() for books in (self.filtered, self.dead_lettered, self.returned, self.lost)
        )
        return self.accepted - settled - self.held


class Ledger:
    """The accounts of all pipelines, by pipeline ID."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def account(self, pipeline: str) -> Account:
        """The account of `pipeline`, opened on first use."""
        return self.accounts.setdefault(pipeline, Account(pipeline))
