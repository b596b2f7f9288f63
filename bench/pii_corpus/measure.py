"""Precision and recall of detectors over labelled texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from bench.pii_corpus.negatives import negatives
from bench.pii_corpus.positives import MAKERS, positives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.pii_corpus.example import Example

    Find = Callable[[bytes], Iterable[tuple[int, int, str]]]

SLACK = 4
"""Bytes that a finding may reach beyond its value: a bracket, a `+`."""

FAMILIES = {"cloud_key": "keyed token", "api_key": "keyed token", "private_key": "keyed token", "secret": "keyed token"}
"""Kinds that are judged together, too: a vendor's key behind `token=` may be called either."""


@dataclass
class Score:
    """Counts of one kind, and some of what went wrong, for people to look at."""

    values: int = 0
    found: int = 0
    findings: int = 0
    right: int = 0
    missed: list[Example] = field(default_factory=list)
    wrong: list[Example] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.values if self.values else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.findings if self.findings else 1.0


def corpus(count: int, seed: int) -> Iterable[Example]:
    """`count` texts of each kind, and as many negatives as all of them together."""
    for kind in MAKERS:
        yield from positives(kind, count, seed)
    yield from negatives(count * len(MAKERS), Random(f"negatives {seed}"))


def measure(find: Find, examples: Iterable[Example]) -> dict[str, Score]:
    """Scores by kind and by family.

    A value is found when findings of its kind or family cover all of it and reach at most SLACK bytes beyond on each
    side. Every other finding is wrong: in a negative, of another kind, or beside the value.
    """
    scores = {name: Score() for name in (*MAKERS, *dict.fromkeys(FAMILIES.values()))}
    for example in examples:
        label = FAMILIES.get(example.kind or "", example.kind)
        for name in {example.kind, label} - {None}:
            scores[str(name)].values += 1
        covered = False
        for start, end, kind in find(example.text):
            family = FAMILIES.get(kind, kind)
            right = (
                family == label
                and example.start - SLACK <= start <= example.start
                and example.end <= end <= example.end + SLACK
            )
            covered = covered or right
            for name in {kind, family}:
                scores[name].findings += 1
                scores[name].right += right
                if not right:
                    scores[name].wrong.append(example)
        for name in {example.kind, label} - {None}:
            scores[str(name)].found += covered
            if not covered:
                scores[str(name)].missed.append(example)
    return scores


def notes(examples: list[Example]) -> list[tuple[str, int]]:
    """Which forms went wrong, most frequent first."""
    return Counter(f"{example.kind or 'nothing'}: {example.note}" for example in examples).most_common()
