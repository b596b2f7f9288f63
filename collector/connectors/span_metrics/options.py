"""Options of `span_metrics`, with the Collector's names."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from collector.options import Duration, Options, option, seconds

DIMENSIONS = ("service.name", "span.name", "span.kind", "status.code")
"""What a span is always counted by, unless it is excluded."""

_MS = 1_000_000


def _increasing(buckets: list[int]) -> list[int]:
    if any(upper <= lower for lower, upper in pairwise(buckets)):
        raise ValueError("expected durations that increase")
    return buckets


def _present(value: Any) -> Any:
    """`exponential:` without anything below it asks for the defaults."""
    return {} if value is None else value


class DimensionOptions(Options):
    """An attribute to count by, of the span or else of its resource."""

    name: str = option(about="Key of a string attribute.", min_length=1)
    default: str = option("", about="What is put where a span hasn't got it; nothing: the attribute is left out.")


class ExplicitOptions(Options):
    """Buckets with given bounds."""

    buckets: Annotated[list[Duration], AfterValidator(_increasing)] = option(
        [each * _MS for each in (2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10_000, 15_000)],
        about="Upper bounds, inclusive.",
        min_length=1,
        max_length=200,
    )


class ExponentialOptions(Options):
    """Buckets that grow by a power of two's root, for native histograms."""

    max_size: int = option(160, about="Buckets of a series at the most; beyond, they are made coarser.", ge=2, le=1000)


class HistogramOptions(Options):
    """`histogram`: how durations are counted."""

    disable: bool = option(False, about="Count calls alone.")
    unit: Literal["ms", "s"] = option("ms", about="Unit of the durations.")
    explicit: ExplicitOptions = option(ExplicitOptions(), about="Buckets with given bounds.")
    exponential: Annotated[ExponentialOptions, BeforeValidator(_present)] | None = option(
        None, about="Exponential buckets in place of explicit ones."
    )


class ExemplarOptions(Options):
    """`exemplars`: spans that stand for a bucket."""

    enabled: bool = option(False, about="Give buckets exemplars.")
    max_per_data_point: int = option(5, about="Exemplars of one point at the most.", gt=0, le=100)
    traces: Literal["kept", "all"] = option(
        "kept", about="Of traces that the sampler of this process has decided to keep, or of any."
    )


class SpanMetricsOptions(Options):
    """`span_metrics`."""

    namespace: str = option("traces.span.metrics", about="What the names of the metrics begin with.")
    dimensions: list[DimensionOptions] = option([], about="Further attributes to count by.", max_length=16)
    exclude_dimensions: list[Literal["service.name", "span.name", "span.kind", "status.code"]] = option(
        [], about="What is not counted by."
    )
    histogram: HistogramOptions = option(HistogramOptions(), about="How durations are counted.")
    exemplars: ExemplarOptions = option(ExemplarOptions(), about="Spans that stand for a bucket.")
    metrics_flush_interval: Duration = option(seconds(15), about="Time between two reports.", ge=seconds(1))
    aggregation_cardinality_limit: int = option(
        10_000,
        about="Series of a partition; spans beyond are counted as one, `otel.metric.overflow=true`.",
        gt=0,
        le=1_000_000,
    )
    weighted: bool = option(
        False, about="Behind a sampler: count each span for as many as its sampling threshold (`ot=th`) says."
    )
