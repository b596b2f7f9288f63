"""The options of `cardinality_limiter`."""

from __future__ import annotations

from typing import Literal

from collector.api import Duration, Options, Size, option, seconds

Action = Literal["overflow", "drop_label", "drop"]


class LabelOptions(Options):
    """A limit for the values of some labels."""

    keys: list[str] = option(about="Labels, exactly or with `*` for any run of characters.", min_length=1)
    max_values: int = option(about="Values that may be active at once, in each metric; 0 is no limit.", ge=0)
    action: Action = option("drop_label", about="What happens to a series with one more.")


class OverrideOptions(Options):
    """Other limits for some metrics. The first that names a metric decides."""

    metrics: list[str] = option(
        about="Names of metrics, exactly or with `*` for any run of characters.", min_length=1, max_length=1024
    )
    max_series: int | None = option(None, about="Instead of `max_series_per_metric`; 0 is no limit.", ge=0)
    action: Action | None = option(None, about="Instead of the `action` for all.")
    drop_labels: list[str] = option(
        [], about="Of `drop_label` at a limit of series: labels that are removed.", max_length=64
    )
    labels: list[LabelOptions] = option([], about="Label limits that come before those for all.", max_length=256)


class CardinalityLimiterOptions(Options):
    """`cardinality_limiter`."""

    window: Duration = option(
        seconds(600), about="A series without a point for that long isn't active any more.", ge=seconds(1)
    )
    max_series: int = option(1_000_000, about="Series that may be active at once.", gt=0, le=8_000_000)
    max_series_per_metric: int = option(0, about="The same for each metric, by its name; 0 is no limit.", ge=0)
    max_values_per_label: int = option(
        0, about="Values of one label of one metric that may be active at once; 0 is no limit.", ge=0
    )
    action: Action = option("overflow", about="What happens to a series over `max_series` or `max_series_per_metric`.")
    label_action: Action = option("drop_label", about="What happens to a series over `max_values_per_label`.")
    labels: list[LabelOptions] = option([], about="Limits for single labels of all metrics.", max_length=256)
    overrides: list[OverrideOptions] = option([], about="Other limits for some metrics.", max_length=256)
    max_metrics: int = option(
        20_000, about="Names of metrics that may be active at once; points of others are dropped.", gt=0, le=1_000_000
    )
    max_aggregated_series: int = option(
        100_000, about="Series that overflow and `drop_label` may make.", gt=0, le=4_000_000
    )
    max_state_size: Size = option(
        256 << 20, about="Memory for what re-aggregation remembers; points that need more are dropped.", gt=0
    )
    max_exemplars: int = option(8, about="Exemplars that a point made of others keeps.", ge=0, le=64)
    max_offenders: int = option(512, about="Metrics and labels in the report of what was refused.", gt=0, le=16384)
