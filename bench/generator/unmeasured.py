"""Numbers that no span feeds: levels that move between bounds, and steady growth. Functions of seed and moment, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.generator.identity import mix
from bench.generator.metric_catalogue import Growth, Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.generator.identity import Words
    from bench.generator.metric_points import Point

_STEP = 0x9E3779B97F4A7C15
_MANTISSA = np.uint64(11)
_STEADY = 0.7
"""Share of a level's range that tells its series apart; the rest moves."""


class Levels:
    """Points whose numbers move between bounds; `low` and `width` are whole numbers or not, as the points are."""

    def __init__(self, number_at: dict[int, int], members: list[tuple[int, Point]]) -> None:
        sources = [point.metric.source for _, point in members]
        bounds = [(source.low, source.high - source.low) for source in sources if isinstance(source, Level)]
        self.at = np.array([number_at[row] for row, _ in members], np.intp)
        whole = all(isinstance(low, int) for low, _ in bounds)
        table = np.array(bounds, np.int64 if whole else np.float64).reshape(-1, 2)
        self.low, self.width = table[:, 0], table[:, 1]
        self._keys: Words = np.array([point.key for _, point in members], np.uint64)
        self._steady = _share(mix(self._keys)) * _STEADY

    def share(self, number: int) -> NDArray[np.float64]:
        """Where between its bounds each point is in that round: 0 to 1, 1 excluded."""
        turn = np.array([(number + 1) * _STEP & ((1 << 64) - 1)], np.uint64)
        return self._steady + _share(mix(self._keys + turn)) * (1 - _STEADY)


class Growths:
    """Points that grow with the number of spans sent."""

    def __init__(self, number_at: dict[int, int], members: list[tuple[int, Point]], delta: NDArray[np.bool_]) -> None:
        self.at = np.array([number_at[row] for row, _ in members], np.intp)
        sources = [point.metric.source for _, point in members]
        rates = np.array([source.per_thousand for source in sources if isinstance(source, Growth)], np.float64)
        keys: Words = np.array([point.key for _, point in members], np.uint64)
        self._rate = (rates * (0.5 + _share(mix(keys)))).astype(np.int64)
        self._delta = np.array([int(delta[row]) for row, _ in members], np.int64)

    def since(self, before: int, now: int) -> NDArray[np.int64]:
        """The numbers after `now` spans; those with delta temporality count from `before` spans."""
        return now * self._rate // 1000 - before * self._rate // 1000 * self._delta


def _share(words: Words) -> NDArray[np.float64]:
    return (words >> _MANTISSA).astype(np.float64) / (1 << 53)
