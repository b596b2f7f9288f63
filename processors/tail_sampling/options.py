"""The options of `tail_sampling`, with the names and the shape of the OpenTelemetry Collector's processor."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from collector.api import Duration, Options, Size, option, seconds
from processors.tail_sampling.policy_options import (
    BooleanAttributeOptions,
    BytesLimitingOptions,
    ByzantineOptions,
    LatencyOptions,
    NumericAttributeOptions,
    ProbabilisticOptions,
    RateLimitingOptions,
    SpanCountOptions,
    StatusCodeOptions,
    StringAttributeOptions,
    TraceStateOptions,
)


class _Policy(Options):
    name: str = option(about="Name in metrics, logs and answers; unique.", min_length=1, max_length=128)


class AlwaysSamplePolicy(_Policy):
    """Samples every trace."""

    type: Literal["always_sample"]


class TraceFlagsPolicy(_Policy):
    """Samples a trace of which a span has the W3C sampled flag."""

    type: Literal["trace_flags"]


class LatencyPolicy(_Policy):
    """Samples by duration."""

    type: Literal["latency"]
    latency: LatencyOptions


class NumericAttributePolicy(_Policy):
    """Samples by a numeric attribute."""

    type: Literal["numeric_attribute"]
    numeric_attribute: NumericAttributeOptions


class StringAttributePolicy(_Policy):
    """Samples by a string attribute."""

    type: Literal["string_attribute"]
    string_attribute: StringAttributeOptions


class BooleanAttributePolicy(_Policy):
    """Samples by a boolean attribute."""

    type: Literal["boolean_attribute"]
    boolean_attribute: BooleanAttributeOptions


class ProbabilisticPolicy(_Policy):
    """Samples a share."""

    type: Literal["probabilistic"]
    probabilistic: ProbabilisticOptions


class StatusCodePolicy(_Policy):
    """Samples by status."""

    type: Literal["status_code"]
    status_code: StatusCodeOptions


class TraceStatePolicy(_Policy):
    """Samples by tracestate."""

    type: Literal["trace_state"]
    trace_state: TraceStateOptions


class RateLimitingPolicy(_Policy):
    """Samples up to a rate of spans."""

    type: Literal["rate_limiting"]
    rate_limiting: RateLimitingOptions


class BytesLimitingPolicy(_Policy):
    """Samples up to a rate of bytes."""

    type: Literal["bytes_limiting"]
    bytes_limiting: BytesLimitingOptions


class SpanCountPolicy(_Policy):
    """Samples by the number of spans."""

    type: Literal["span_count"]
    span_count: SpanCountOptions


class ByzantinePolicy(_Policy):
    """Samples traces with signs of a Byzantine fault."""

    type: Literal["byzantine"]
    byzantine: ByzantineOptions = option(ByzantineOptions(), about="What the signs are.")


class OttlConditionPolicy(_Policy):
    """Known by name, so that the refusal is clear."""

    type: Literal["ottl_condition"]
    ottl_condition: Any = option(None, about="Not supported.")


class AndOptions(Options):
    """Policies that must all sample."""

    and_sub_policy: list[SubPolicy] = option(about="The policies, asked in order.", min_length=1)


class AndPolicy(_Policy):
    """Samples when every sub-policy does."""

    type: Literal["and"]
    and_: AndOptions = Field(alias="and", description="The sub-policies.")


class NotOptions(Options):
    """The policy to turn around."""

    not_sub_policy: SubPolicy = option(about="The policy.")


class NotPolicy(_Policy):
    """Samples what its sub-policy doesn't, and the reverse."""

    type: Literal["not"]
    not_: NotOptions = Field(alias="not", description="The sub-policy.")


SubPolicy = Annotated[
    AlwaysSamplePolicy
    | TraceFlagsPolicy
    | LatencyPolicy
    | NumericAttributePolicy
    | StringAttributePolicy
    | BooleanAttributePolicy
    | ProbabilisticPolicy
    | StatusCodePolicy
    | TraceStatePolicy
    | RateLimitingPolicy
    | BytesLimitingPolicy
    | SpanCountPolicy
    | ByzantinePolicy
    | OttlConditionPolicy
    | AndPolicy
    | NotPolicy,
    Field(discriminator="type"),
]


class DropOptions(Options):
    """Policies that must all sample for the trace to be dropped."""

    drop_sub_policy: list[SubPolicy] = option(about="The policies, asked in order.", min_length=1)


class DropPolicy(_Policy):
    """Drops a trace that every sub-policy samples, whatever other policies say."""

    type: Literal["drop"]
    drop: DropOptions


class RateAllocation(Options):
    """The share of one sub-policy."""

    policy: str = option(about="Name of the sub-policy.")
    percent: int = option(about="Share of max_total_spans_per_second, in percent.", ge=0, le=100)


class CompositeOptions(Options):
    """Policies that share a rate."""

    max_total_spans_per_second: int = option(about="Spans a second of all sub-policies together.", gt=0)
    policy_order: list[str] = option(about="Names of the sub-policies, the first to be asked first.", min_length=1)
    composite_sub_policy: list[SubPolicy] = option(about="The policies.", min_length=1)
    rate_allocation: list[RateAllocation] = option(
        [], about="Shares; a policy without one is bounded by the total alone."
    )


class CompositePolicy(_Policy):
    """Samples up to a rate that its sub-policies share."""

    type: Literal["composite"]
    composite: CompositeOptions


Policy = Annotated[
    AlwaysSamplePolicy
    | TraceFlagsPolicy
    | LatencyPolicy
    | NumericAttributePolicy
    | StringAttributePolicy
    | BooleanAttributePolicy
    | ProbabilisticPolicy
    | StatusCodePolicy
    | TraceStatePolicy
    | RateLimitingPolicy
    | BytesLimitingPolicy
    | SpanCountPolicy
    | ByzantinePolicy
    | OttlConditionPolicy
    | AndPolicy
    | NotPolicy
    | DropPolicy
    | CompositePolicy,
    Field(discriminator="type"),
]

AndOptions.model_rebuild()
NotOptions.model_rebuild()
AndPolicy.model_rebuild()
NotPolicy.model_rebuild()


class DecisionCache(Options):
    """How many verdicts are remembered for late spans."""

    sampled_cache_size: int = option(500_000, about="Verdicts of sampled traces.", ge=0, le=4_000_000)
    non_sampled_cache_size: int = option(500_000, about="Verdicts of traces that were not.", ge=0, le=4_000_000)


class TailSamplingOptions(Options):
    """`tail_sampling`."""

    policies: list[Policy] = option(about="The policies, in order.", min_length=1, max_length=1000)
    decision_wait: Duration = option(
        seconds(30), about="From a trace's first span to its verdict.", gt=0, le=seconds(3600)
    )
    decision_wait_after_root_received: Duration = option(
        0,
        about="From a trace's root span to its verdict, where that is sooner; 0 turns it off.",
        ge=0,
        le=seconds(3600),
    )
    num_traces: int = option(
        2_000_000, about="Open traces at the most; beyond it the oldest are decided early.", gt=0, le=4_000_000
    )
    max_spans_per_trace: int = option(
        500_000, about="A trace with that many spans is decided early; 0 is no limit.", ge=0, le=2**29 - 1
    )
    maximum_trace_size_bytes: Size = option(
        0, about="A trace of that many bytes is decided early; 0 is no limit.", ge=0, le=2**32 - 1
    )
    expected_new_traces_per_sec: int = option(0, about="Taken for compatibility; the tables grow by themselves.", ge=0)
    decision_cache: DecisionCache = option(DecisionCache(), about="How many verdicts are remembered.")
    sample_on_first_match: bool = option(False, about="The first policy that samples ends the asking.")
    drop_pending_traces_on_shutdown: bool = option(
        False, about="Without a durable log: drop what is undecided at shutdown, rather than decide on what is there."
    )
    record_policy: bool = option(
        False, about="Write the policy that kept a trace to its root span, as `butterfly.sampling.policy`."
    )
    drop_duplicates: bool = option(True, about="Drop byte-identical copies of a kept span within `decision_wait`.")
    duplicate_memory_spans: int = option(
        1_000_000, about="Kept spans that each of two generations remembers, 16 to 43 bytes each.", gt=0, le=100_000_000
    )
    recent_verdicts: int = option(10_000, about="Verdicts that can be asked for their reason.", gt=0, le=1_000_000)
