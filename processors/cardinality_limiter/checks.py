"""What is wrong with a configuration of `cardinality_limiter` beyond what types can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from processors.cardinality_limiter.options import CardinalityLimiterOptions

Found = list[tuple[tuple[str | int, ...], str]]


def problems(config: CardinalityLimiterOptions) -> Found:
    """See `Component.problems`."""
    return [
        (
            ("overrides", at, "drop_labels"),
            "these are what `action: drop_label` removes, and the action is another",
        )
        for at, each in enumerate(config.overrides)
        if each.drop_labels and (each.action or config.action) != "drop_label"
    ]


def warnings(config: CardinalityLimiterOptions) -> Found:
    """See `Component.warnings`."""
    found: Found = []
    if config.max_series_per_metric > config.max_series:
        found.append((("max_series_per_metric",), "it is never reached: max_series is lower"))
    seen: set[str] = set()
    for at, each in enumerate(config.overrides):
        found.extend(
            (("overrides", at, "metrics", number), f"an override before this one names {name!r}, and the first decides")
            for number, name in enumerate(each.metrics)
            if name in seen or "*" in seen
        )
        seen.update(each.metrics)
        if each.max_series is not None and each.max_series > config.max_series:
            found.append((("overrides", at, "max_series"), "it is never reached: max_series is lower"))
    return found
