"""Which limits hold for a metric and for its labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processors.cardinality_limiter.options import CardinalityLimiterOptions, LabelOptions

ACTIONS = ("overflow", "drop_label", "drop")
"""By their numbers in compiled code."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """`limit` 0 is none."""

    pattern: re.Pattern[bytes]
    limit: int
    action: int


@dataclass(frozen=True, slots=True)
class MetricRule:
    """What holds for one metric. `counts_labels` says whether values of labels must be counted at all."""

    limit: int
    action: int
    drop_labels: frozenset[bytes]
    labels: tuple[LabelRule, ...]

    @property
    def chooses(self) -> bool:
        """Whether the label to remove at a limit of series is the one with the most values."""
        return ACTIONS[self.action] == "drop_label" and not self.drop_labels

    @property
    def counts_labels(self) -> bool:
        return self.chooses or any(rule.limit for rule in self.labels)

    def label(self, key: bytes) -> tuple[int, int]:
        """(limit, action) of a label."""
        for rule in self.labels:
            if rule.pattern.fullmatch(key):
                return rule.limit, rule.action
        return 0, 0


class Rules:
    """All limits of a configuration."""

    def __init__(self, config: CardinalityLimiterOptions) -> None:
        everywhere = [
            *map(_label_rule, config.labels),
            LabelRule(_globs(["*"]), config.max_values_per_label, ACTIONS.index(config.label_action)),
        ]
        self._otherwise = MetricRule(
            config.max_series_per_metric, ACTIONS.index(config.action), frozenset(), tuple(everywhere)
        )
        self._overrides = [
            (
                _globs(each.metrics),
                MetricRule(
                    config.max_series_per_metric if each.max_series is None else each.max_series,
                    ACTIONS.index(each.action or config.action),
                    frozenset(key.encode() for key in each.drop_labels),
                    (*map(_label_rule, each.labels), *everywhere),
                ),
            )
            for each in config.overrides
        ]

    def metric(self, name: bytes) -> MetricRule:
        """What holds for a metric."""
        return next((rule for pattern, rule in self._overrides if pattern.fullmatch(name)), self._otherwise)


def _label_rule(options: LabelOptions) -> LabelRule:
    return LabelRule(_globs(options.keys), options.max_values, ACTIONS.index(options.action))


def _globs(texts: Sequence[str]) -> re.Pattern[bytes]:
    """One pattern for all of them."""
    return re.compile(b"|".join(_glob(text) for text in texts), re.DOTALL)


def _glob(text: str) -> bytes:
    """A piece behind a `*` is looked for where it occurs first, which for globs is enough: time stays linear."""
    first, *rest = [re.escape(piece.encode()) for piece in re.split(r"\*+", text)]
    if not rest:
        return first
    *inner, last = rest
    return first + b"".join(b"(?>.*?" + piece + b")" for piece in inner) + b".*" + last
