"""The policies that look at one thing each. `prepare` says what the scan must look for; `vote` judges columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import re2

from collector.api import UNKNOWN_THRESHOLD
from processors.tail_sampling.probability import fnv1a_64, hash_threshold, rejection_threshold
from processors.tail_sampling.token_buckets import TokenBuckets
from processors.tail_sampling.traces import INVERT_NOT_SAMPLED, INVERT_SAMPLED, NOT_SAMPLED, SAMPLED, Traces

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from collector.api import Probes
    from processors.tail_sampling import policy_options as options

Votes = "NDArray[np.int8]"


def votes_of(sampled: NDArray[np.bool_]) -> NDArray[np.int8]:
    """SAMPLED where it holds, NOT_SAMPLED elsewhere."""
    return np.where(sampled, np.int8(SAMPLED), np.int8(NOT_SAMPLED))


class Policy(ABC):
    """A policy at work.

    `threshold` is the 56-bit rejection threshold of what it samples: 0 for what it would always sample, or
    `UNKNOWN_THRESHOLD`. `stateful` policies remember what they sampled, so they are asked about each trace once.
    """

    threshold: int = 0
    stateful: bool = False
    reads_randomness: bool = False

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def prepare(self, probes: Probes) -> None:
        """Add the conditions it needs. Raises `ValueError` when there are too many or a pattern is wrong."""

    @abstractmethod
    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        """A vote for each trace. A stateful policy must not count the rows that are not `asked`."""


class AlwaysSample(Policy):
    def prepare(self, probes: Probes) -> None:
        del probes

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        del asked
        return np.full(len(traces), SAMPLED, np.int8)


class Latency(Policy):
    def __init__(self, name: str, config: options.LatencyOptions) -> None:
        super().__init__(name)
        self._lower = min(config.threshold_ms * 1_000_000, 2**64 - 1)
        self._upper = min(config.upper_threshold_ms * 1_000_000, 2**64 - 1)

    def prepare(self, probes: Probes) -> None:
        del probes

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        del asked
        slow = traces.duration > np.uint64(self._lower)
        if self._upper:
            slow &= traces.duration <= np.uint64(self._upper)
        return votes_of(slow)


class SpanCount(Policy):
    def __init__(self, name: str, config: options.SpanCountOptions) -> None:
        super().__init__(name)
        self._config = config

    def prepare(self, probes: Probes) -> None:
        del probes

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        del asked
        spans = traces.spans.astype(np.int64)
        within = spans >= self._config.min_spans
        if self._config.max_spans:
            within &= spans <= self._config.max_spans
        return votes_of(within)


class Matching(Policy):
    """Samples a trace of which some span meets a condition of the scan; inverted, unless some span does."""

    def __init__(self, name: str, conditions: Callable[[Probes], list[int]], *, invert: bool = False) -> None:
        super().__init__(name)
        self._conditions = conditions
        self._invert = invert
        self._bits = 0

    def prepare(self, probes: Probes) -> None:
        self._bits = sum(1 << bit for bit in set(self._conditions(probes)))

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        del asked
        matched = traces.having(self._bits)
        if self._invert:
            return np.where(matched, np.int8(INVERT_NOT_SAMPLED), np.int8(INVERT_SAMPLED))
        return votes_of(matched)


class Consistent(Policy):
    """Keeps a trace iff its randomness R >= T, as every other consistent sampler on the way would."""

    reads_randomness = True

    def __init__(self, name: str, config: options.ProbabilisticOptions) -> None:
        super().__init__(name)
        self.threshold = rejection_threshold(config.sampling_percentage, config.sampling_precision)

    def prepare(self, probes: Probes) -> None:
        del probes

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        del asked
        return votes_of(traces.randomness >= np.uint64(self.threshold))


class Hashed(Policy):
    """The Collector's own probabilistic policy. Not consistent with R, so no `th` can be written for what it keeps."""

    threshold = UNKNOWN_THRESHOLD

    def __init__(self, name: str, config: options.ProbabilisticOptions) -> None:
        super().__init__(name)
        self._salt = (config.hash_salt or "default-hash-seed").encode()
        self._limit = hash_threshold(config.sampling_percentage)
        if config.sampling_percentage == 100:
            self.threshold = 0

    def prepare(self, probes: Probes) -> None:
        del probes

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        del asked
        return votes_of(fnv1a_64(self._salt, traces.hi, traces.lo) <= np.uint64(self._limit))


class Limiting(Policy):
    """A token bucket of spans or of bytes, over the time of the decisions."""

    threshold = UNKNOWN_THRESHOLD
    stateful = True

    def __init__(self, name: str, rate: int, burst: int, *, of_bytes: bool) -> None:
        super().__init__(name)
        self._buckets = TokenBuckets((float(rate), float(burst)), [None])
        self._of_bytes = of_bytes

    def prepare(self, probes: Probes) -> None:
        del probes

    def vote(self, traces: Traces, asked: NDArray[np.bool_]) -> NDArray[np.int8]:
        candidates = np.ascontiguousarray(asked, np.uint8)[np.newaxis, :]
        cost = traces.size if self._of_bytes else traces.spans
        return votes_of(self._buckets.spend(candidates, cost, traces.time_ns) >= 0)


def byzantine(config: options.ByzantineOptions) -> Callable[[Probes], list[int]]:
    """The conditions that are signs of a Byzantine fault."""
    everywhere: Any = ("span", "event", "resource")

    def conditions(probes: Probes) -> list[int]:
        signs = [probes.attribute_exists(key, where=everywhere) for key in config.fault_attributes]
        for key in config.detected_attributes:
            signs.append(probes.attribute_bool(key, True, where=everywhere))
            signs.append(probes.attribute_string(key, ["true"], where=everywhere))
        if config.event_names or config.event_prefixes:
            signs.append(probes.event_name(config.event_names, prefixes=config.event_prefixes))
        if config.verification_names or config.verification_prefixes or config.verification_suffixes:
            verifies = probes.name(
                config.verification_names,
                prefixes=config.verification_prefixes,
                suffixes=config.verification_suffixes,
            )
            signs.append(probes.all_of([verifies, probes.status(2)]))
            if config.failed_results:
                failed = probes.attribute_string(config.result_attribute, config.failed_results, where=("span",))
                signs.append(probes.all_of([verifies, failed]))
        return signs

    return conditions


def pattern(values: list[str]) -> Callable[[str], bool]:
    """Whether any of the RE2 patterns is found in a string. Raises `ValueError` that names the wrong one."""
    settings = re2.Options()
    settings.log_errors = False
    compiled = []
    for value in values:
        try:
            compiled.append(re2.compile(value, settings))
        except re2.error as error:
            reason = error.args[0] if error.args else "it can't be compiled"
            raise ValueError(
                f"{value!r} is not an RE2 pattern: {reason.decode() if isinstance(reason, bytes) else reason}"
            ) from None
    return lambda text: any(one.search(text) for one in compiled)
