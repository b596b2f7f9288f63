"""The policies made of policies, and the way from options to policies at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from collector.api import UNKNOWN_THRESHOLD
from processors.tail_sampling.policies import (
    AlwaysSample,
    Consistent,
    Hashed,
    Latency,
    Limiting,
    Matching,
    Policy,
    SpanCount,
    byzantine,
    pattern,
    votes_of,
)
from processors.tail_sampling.token_buckets import TokenBuckets
from processors.tail_sampling.traces import DROPPED, INVERT_SAMPLED, NOT_SAMPLED, SAMPLED, Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from collector.api import Probes
    from processors.tail_sampling import options

_STATUS = {"UNSET": 0, "OK": 1, "ERROR": 2}
_SAMPLED_FLAG = 1


def samples(votes: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Inside another policy an inverted vote counts as a plain one."""
    sampled: NDArray[np.bool_] = (votes == SAMPLED) | (votes == INVERT_SAMPLED)
    return sampled


class _Compound(Policy):
    def __init__(self, name: str, parts: Sequence[Policy]) -> None:
        super().__init__(name)
        self._parts = parts
        self.stateful = any(part.stateful for part in parts)
        self.reads_randomness = any(part.reads_randomness for part in parts)

    def prepare(self, probes: Probes) -> None:
        for part in self._parts:
            part.prepare(probes)

    def _all_sample(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Asked in order; who comes later isn't asked about traces that an earlier one didn't sample."""
        agreed = asked if self.stateful else np.ones(len(traces), np.bool_)
        for part in self._parts:
            agreed = agreed & samples(part.vote(traces, agreed))
        return agreed


class And(_Compound):
    def __init__(self, name: str, parts: Sequence[Policy]) -> None:
        super().__init__(name, parts)
        self.threshold = max(part.threshold for part in parts)

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        return votes_of(self._all_sample(traces, asked))


class Drop(_Compound):
    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        return np.where(self._all_sample(traces, asked), np.int8(DROPPED), np.int8(NOT_SAMPLED))


class Not(_Compound):
    """Swaps sampled and not sampled. What is left over by a random choice was kept with a probability nobody knows."""

    def __init__(self, name: str, part: Policy) -> None:
        super().__init__(name, [part])
        self.threshold = 0 if part.threshold == 0 else UNKNOWN_THRESHOLD

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        votes = self._parts[0].vote(traces, asked)
        return np.where(votes <= SAMPLED, np.int8(1) - votes, votes)


class Composite(_Compound):
    """Samples what its first willing sub-policy with room left in its share takes, as long as the total has room.

    The buckets hold one second's worth, so no second's spans exceed twice the rate and the average keeps to it.
    """

    threshold = UNKNOWN_THRESHOLD

    def __init__(self, name: str, config: options.CompositeOptions, parts: Sequence[Policy]) -> None:
        super().__init__(name, parts)
        self.stateful = True
        percents = {share.policy: share.percent for share in config.rate_allocation}
        rates = [
            None if part.name not in percents else config.max_total_spans_per_second * percents[part.name] / 100
            for part in parts
        ]
        total = float(config.max_total_spans_per_second)
        self._buckets = TokenBuckets((total, total), [None if rate is None else (rate, rate) for rate in rates])
        self._shut = [rate == 0 for rate in rates]

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        candidates = np.zeros((len(self._parts), len(traces)), np.uint8)
        for row, (part, shut) in enumerate(zip(self._parts, self._shut, strict=True)):
            if not shut:
                candidates[row] = asked & samples(part.vote(traces, asked))
        return votes_of(self._buckets.spend(candidates, traces.spans, traces.time_ns) >= 0)


def build(config: Any) -> Policy:
    """The policy that `config` (one of `options.Policy`) describes. Raises `ValueError` for what can't be built."""
    make = _BUILDERS.get(config.type)
    if make is None:
        raise ValueError(f"the policy type {config.type} is not supported")
    return make(config)


def _always_sample(config: options.AlwaysSamplePolicy) -> Policy:
    return AlwaysSample(config.name)


def _trace_flags(config: options.TraceFlagsPolicy) -> Policy:
    return Matching(config.name, lambda probes: [probes.flags(_SAMPLED_FLAG)])


def _latency(config: options.LatencyPolicy) -> Policy:
    return Latency(config.name, config.latency)


def _numeric(config: options.NumericAttributePolicy) -> Policy:
    it = config.numeric_attribute
    return Matching(
        config.name,
        lambda probes: [probes.attribute_number(it.key, it.min_value, it.max_value)],
        invert=it.invert_match,
    )


def _string(config: options.StringAttributePolicy) -> Policy:
    it = config.string_attribute
    if not it.enabled_regex_matching:
        return Matching(
            config.name, lambda probes: [probes.attribute_string(it.key, it.values)], invert=it.invert_match
        )
    matches = pattern(it.values)
    return Matching(
        config.name,
        lambda probes: [probes.attribute_pattern(it.key, matches, cache_size=it.cache_max_size or 1)],
        invert=it.invert_match,
    )


def _boolean(config: options.BooleanAttributePolicy) -> Policy:
    it = config.boolean_attribute
    return Matching(config.name, lambda probes: [probes.attribute_bool(it.key, it.value)], invert=it.invert_match)


def _probabilistic(config: options.ProbabilisticPolicy) -> Policy:
    kind = Hashed if config.probabilistic.compat == "collector" else Consistent
    return kind(config.name, config.probabilistic)


def _status(config: options.StatusCodePolicy) -> Policy:
    codes = config.status_code.status_codes
    return Matching(config.name, lambda probes: [probes.status(_STATUS[code]) for code in codes])


def _trace_state(config: options.TraceStatePolicy) -> Policy:
    it = config.trace_state
    return Matching(config.name, lambda probes: [probes.trace_state(it.key, it.values)])


def _rate(config: options.RateLimitingPolicy) -> Policy:
    rate = config.rate_limiting.spans_per_second
    return Limiting(config.name, rate, 2 * rate, of_bytes=False)


def _bytes(config: options.BytesLimitingPolicy) -> Policy:
    it = config.bytes_limiting
    return Limiting(config.name, it.bytes_per_second, it.burst_capacity or 2 * it.bytes_per_second, of_bytes=True)


def _span_count(config: options.SpanCountPolicy) -> Policy:
    return SpanCount(config.name, config.span_count)


def _byzantine(config: options.ByzantinePolicy) -> Policy:
    return Matching(config.name, byzantine(config.byzantine))


def _and(config: options.AndPolicy) -> Policy:
    return And(config.name, [build(part) for part in config.and_.and_sub_policy])


def _not(config: options.NotPolicy) -> Policy:
    return Not(config.name, build(config.not_.not_sub_policy))


def _drop(config: options.DropPolicy) -> Policy:
    return Drop(config.name, [build(part) for part in config.drop.drop_sub_policy])


def _composite(config: options.CompositePolicy) -> Policy:
    by_name = {part.name: part for part in config.composite.composite_sub_policy}
    missing = [name for name in config.composite.policy_order if name not in by_name]
    if missing:
        raise ValueError(f"policy_order names {missing[0]!r}, which is no sub-policy")
    return Composite(config.name, config.composite, [build(by_name[name]) for name in config.composite.policy_order])


_BUILDERS: dict[str, Callable[[Any], Policy]] = {
    "always_sample": _always_sample,
    "and": _and,
    "boolean_attribute": _boolean,
    "byzantine": _byzantine,
    "bytes_limiting": _bytes,
    "composite": _composite,
    "drop": _drop,
    "latency": _latency,
    "not": _not,
    "numeric_attribute": _numeric,
    "probabilistic": _probabilistic,
    "rate_limiting": _rate,
    "span_count": _span_count,
    "status_code": _status,
    "string_attribute": _string,
    "trace_flags": _trace_flags,
    "trace_state": _trace_state,
}
