"""From the policies' votes to verdicts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collector.api import UNKNOWN_THRESHOLD, Probes
from processors.tail_sampling.compound import build
from processors.tail_sampling.traces import (
    DROPPED,
    INVERT_NOT_SAMPLED,
    INVERT_SAMPLED,
    NOT_SAMPLED,
    SAMPLED,
    Traces,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from processors.tail_sampling.options import TailSamplingOptions

NO_POLICY = 0
"""Policy number of a trace that nobody voted for. Policy i of the configuration is number i + 1; behind the
last comes the number of those that are kept because something outside their spans points at them."""
OTHER_POLICY = 1023
"""Policy number of a verdict that was restored from another configuration."""


@dataclass(frozen=True)
class Verdict:
    """Columns: whether each trace is sampled, the number of the policy that settled it, its threshold."""

    sampled: NDArray[np.bool_]
    policy: NDArray[np.uint16]
    threshold: NDArray[np.uint64]


class PolicySet:
    """The policies of one configuration, in order.

    Precedence of votes: dropped, then inverted-not-sampled, then sampled, then inverted-sampled when nobody voted
    not-sampled; otherwise the trace isn't sampled. With `sample_on_first_match` the policies after the first that
    samples have no vote, except that a stateless one among them which would always have kept the trace still lowers its
    threshold: the trace represents itself then, whoever came first.
    """

    def __init__(self, config: TailSamplingOptions) -> None:
        self.policies = [build(policy) for policy in config.policies]
        self.names = ["none", *(policy.name for policy in self.policies), "pinned"]
        self.pinned = len(self.policies) + 1
        self.drops = [number for number, policy in enumerate(config.policies, start=1) if policy.type == "drop"]
        self.probes = Probes()
        for policy in self.policies:
            policy.prepare(self.probes)
        self.reads_randomness = any(policy.reads_randomness for policy in self.policies)
        self.version = _version(config)
        self._first_match = config.sample_on_first_match

    def name(self, number: int) -> str:
        """The name of the policy with that number, for people and metrics."""
        return self.names[number] if number < len(self.names) else "earlier_configuration"

    def keep_pinned(self, verdict: Verdict, pinned: NDArray[np.bool_]) -> None:
        """Sample what somebody points at, unless a `drop` policy had it dropped. It represents itself alone."""
        kept = pinned & ~verdict.sampled & ~np.isin(verdict.policy, self.drops)
        verdict.sampled[kept] = True
        verdict.policy[kept] = self.pinned
        verdict.threshold[verdict.sampled & pinned] = 0

    def decide(self, traces: Traces) -> Verdict:
        """Verdicts of the traces, in their order."""
        count = len(traces)
        asked = np.ones(count, np.bool_)
        best = np.zeros(count, np.uint8)
        policy = np.zeros(count, np.uint16)
        threshold = np.full(count, UNKNOWN_THRESHOLD, np.uint64)
        refused = np.zeros(count, np.bool_)
        for number, one in enumerate(self.policies, start=1):
            if not asked.any() and one.stateful:
                continue
            votes = one.vote(traces, asked)
            lowers = (votes == SAMPLED) & (asked | (not one.stateful))
            np.minimum(threshold, np.uint64(one.threshold), out=threshold, where=lowers)
            refused |= asked & (votes == NOT_SAMPLED)
            rank = np.where(asked, _RANK[votes], 0)
            better = rank > best
            best[better] = rank[better]
            policy[better] = number
            if self._first_match:
                asked &= votes != SAMPLED
        unopposed = (best == _RANK[INVERT_SAMPLED]) & ~refused
        sampled = (best == _RANK[SAMPLED]) | unopposed
        policy[(best == _RANK[INVERT_SAMPLED]) & refused] = NO_POLICY
        threshold[unopposed] = 0  # every policy had its chance to refuse, and none would ever have
        return Verdict(sampled, policy, threshold)


_RANK = np.zeros(5, np.uint8)
_RANK[INVERT_SAMPLED] = 1
_RANK[SAMPLED] = 2
_RANK[INVERT_NOT_SAMPLED] = 3
_RANK[DROPPED] = 4


def _version(config: TailSamplingOptions) -> int:
    """A 64-bit figure that changes when the policies do."""
    text = "\n".join(policy.model_dump_json(by_alias=True) for policy in config.policies)
    text += f"\n{config.sample_on_first_match}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Thresholds:
    """Distinct thresholds by small number, so that a verdict holds one byte of them. Number 0 is UNKNOWN."""

    def __init__(self, limit: int) -> None:
        self.values = np.array([UNKNOWN_THRESHOLD], np.uint64)
        self._limit = limit

    def numbers(self, thresholds: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The numbers of `thresholds`; one too many becomes UNKNOWN, which is true of it, too."""
        distinct, where = np.unique(thresholds, return_inverse=True)
        return np.array([self._number(int(value)) for value in distinct], np.uint8)[where]

    def _number(self, value: int) -> int:
        known = np.flatnonzero(self.values == np.uint64(value))
        if len(known):
            return int(known[0])
        if len(self.values) >= self._limit:
            return 0
        self.values = np.append(self.values, np.uint64(value))
        return len(self.values) - 1
