"""Tables of policy cases: columns in, votes and verdicts out."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from collector.api import UNKNOWN_THRESHOLD, Probes
from processors.tail_sampling.compound import build
from processors.tail_sampling.decision import PolicySet, Thresholds
from processors.tail_sampling.options import Policy, TailSamplingOptions
from processors.tail_sampling.traces import DROPPED, INVERT_NOT_SAMPLED, INVERT_SAMPLED, NOT_SAMPLED, SAMPLED, Traces

MS = 10**6
POLICY = TypeAdapter(Policy)


def traces(rows):
    """`rows`: dicts of columns, anything missing is something ordinary."""

    def column(name, default, kind):
        return np.array([row.get(name, default) for row in rows], kind)

    return Traces(
        column("hi", 1, np.uint64), np.arange(1, len(rows) + 1, dtype=np.uint64), column("matches", 0, np.uint64),
        column("start", 10**18, np.uint64), column("end", 10**18 + 5 * MS, np.uint64),
        column("randomness", 0, np.uint64), column("spans", 1, np.uint32), column("size", 100, np.uint32),
        column("time_ns", 0, np.int64),
    )  # fmt: skip


def votes(config, rows):
    policy = build(POLICY.validate_python({"name": "p"} | config))
    policy.prepare(Probes())
    columns = traces(rows)
    return policy.vote(columns, np.ones(len(rows), np.bool_)).tolist()


def leaf(kind, **options):
    return {"name": f"{kind}-{id(options)}", "type": kind, kind: options}


@pytest.mark.parametrize(
    ("start", "end", "upper", "sampled"),
    [
        (10**18, 10**18 + 5 * MS, 0, False),  # the lower bound is exclusive
        (10**18, 10**18 + 5 * MS + 1, 0, True),
        (10**18, 10**18 + 9 * MS, 9, True),  # the upper bound is inclusive
        (10**18, 10**18 + 9 * MS + 1, 9, False),
        (0, 2**64 - 1, 0, False),  # no start is known
        (10**18, 0, 0, False),
        (2**63, 5, 0, False),  # ends before it starts
        (1, 2**64 - 1, 0, True),
        (2**64 - 1, 2**63, 0, False),
    ],
)
def test_latency_survives_hostile_times(start, end, upper, sampled):
    config = {"type": "latency", "latency": {"threshold_ms": 5, "upper_threshold_ms": upper}}
    assert votes(config, [{"start": start, "end": end}]) == [SAMPLED if sampled else NOT_SAMPLED]


def test_span_count_is_inclusive():
    config = {"type": "span_count", "span_count": {"min_spans": 2, "max_spans": 4}}
    assert votes(config, [{"spans": n} for n in range(1, 6)]) == [0, 1, 1, 1, 0]
    assert votes({"type": "span_count", "span_count": {"min_spans": 2}}, [{"spans": 2**29 - 1}]) == [SAMPLED]


def test_an_inverted_policy_says_so():
    config = {"type": "boolean_attribute", "boolean_attribute": {"key": "k", "value": True, "invert_match": True}}
    assert votes(config, [{"matches": 1}, {"matches": 0}]) == [INVERT_NOT_SAMPLED, INVERT_SAMPLED]


def test_inside_and_an_inverted_vote_is_a_plain_one():
    inverted = leaf("string_attribute", key="k", values=["v"], invert_match=True)
    both = {"type": "and", "and": {"and_sub_policy": [inverted, leaf("span_count", min_spans=2)]}}
    rows = [{"matches": 0, "spans": 2}, {"matches": 1, "spans": 2}, {"matches": 0, "spans": 1}]
    assert votes(both, rows) == [SAMPLED, NOT_SAMPLED, NOT_SAMPLED]


def test_not_swaps_plain_votes_and_passes_inverted_ones_through():
    plain = {"type": "not", "not": {"not_sub_policy": leaf("span_count", min_spans=2)}}
    assert votes(plain, [{"spans": 1}, {"spans": 2}]) == [SAMPLED, NOT_SAMPLED]
    inverted = leaf("boolean_attribute", key="k", value=True, invert_match=True)
    assert votes({"type": "not", "not": {"not_sub_policy": inverted}}, [{"matches": 1}, {}]) == [
        INVERT_NOT_SAMPLED,
        INVERT_SAMPLED,
    ]


def test_drop_needs_all_of_its_policies():
    config = {
        "type": "drop",
        "drop": {"drop_sub_policy": [leaf("span_count", min_spans=2), {"name": "flagged", "type": "trace_flags"}]},
    }
    assert votes(config, [{"spans": 2, "matches": 1}, {"spans": 2}]) == [DROPPED, NOT_SAMPLED]


def test_a_rate_allows_a_burst_of_twice_itself_and_then_the_rate():
    config = {"type": "rate_limiting", "rate_limiting": {"spans_per_second": 10}}
    burst = [{"spans": 5}] * 5
    later = [{"spans": 5, "time_ns": 500 * MS}] * 2
    assert votes(config, burst + later) == [1, 1, 1, 1, 0, 1, 0]


def test_a_trace_larger_than_the_burst_passes_a_full_bucket_and_leaves_a_debt():
    config = {"type": "bytes_limiting", "bytes_limiting": {"bytes_per_second": 100, "burst_capacity": 100}}
    sizes_and_seconds = [(200, 0), (1, 1.0), (1, 1.02), (200, 9)]
    rows = [{"size": size, "time_ns": int(seconds * 10**9)} for size, seconds in sizes_and_seconds]
    assert votes(config, rows) == [1, 0, 1, 1]


def test_a_clock_that_goes_back_fills_no_bucket():
    config = {"type": "rate_limiting", "rate_limiting": {"spans_per_second": 1}}
    times = [10**9, 0, 10**9, 0, 10**9]
    assert votes(config, [{"time_ns": t} for t in times]) == [1, 1, 0, 0, 0]


def test_composite_tries_the_next_policy_when_one_is_over_its_share():
    parts = [leaf("span_count", min_spans=2) | {"name": "big"}, {"name": "rest", "type": "always_sample"}]
    config = {
        "type": "composite",
        "composite": {
            "max_total_spans_per_second": 10,
            "policy_order": ["big", "rest"],
            "composite_sub_policy": parts,
            "rate_allocation": [{"policy": "big", "percent": 40}],
        },
    }
    # 4 of the share of `big`, then `rest` takes over until the total of 10 is spent
    assert votes(config, [{"spans": 2}] * 7) == [1, 1, 1, 1, 1, 0, 0]


def decide(policies, rows, **config):
    given = TailSamplingOptions.model_validate({"policies": policies} | config)
    decided = PolicySet(given).decide(traces(rows))
    names = ["none", *(p["name"] for p in policies)]
    return [
        (bool(s), names[p], int(t)) for s, p, t in zip(decided.sampled, decided.policy, decided.threshold, strict=True)
    ]


ALWAYS = {"name": "always", "type": "always_sample"}
BIG = {"name": "big", "type": "span_count", "span_count": {"min_spans": 2}}
HALF = {"name": "half", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50}}
RATE = {"name": "rate", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 1000}}
DROP = {"name": "drop", "type": "drop", "drop": {"drop_sub_policy": [BIG]}}
UNLESS = {
    "name": "unless",
    "type": "boolean_attribute",
    "boolean_attribute": {"key": "k", "value": True, "invert_match": True},
}
HIGH, LOW, T50 = 2**56 - 1, 0, 1 << 55


@pytest.mark.parametrize(
    ("policies", "row", "verdict"),
    [
        ([ALWAYS, DROP], {"spans": 2}, (False, "drop", 0)),
        ([ALWAYS, DROP], {"spans": 1}, (True, "always", 0)),
        ([ALWAYS, UNLESS], {"matches": 1}, (False, "unless", 0)),
        ([UNLESS], {}, (True, "unless", 0)),
        ([UNLESS, BIG], {}, (False, "none", None)),  # somebody voted not-sampled
        ([UNLESS, BIG], {"spans": 2}, (True, "big", 0)),
        ([UNLESS, HALF], {"randomness": HIGH}, (True, "half", T50)),
        ([BIG], {}, (False, "none", None)),
        ([HALF], {"randomness": T50}, (True, "half", T50)),
        ([HALF], {"randomness": T50 - 1}, (False, "none", None)),
        ([HALF, BIG], {"randomness": HIGH, "spans": 2}, (True, "half", 0)),  # it would have been kept anyway
        ([RATE], {}, (True, "rate", UNKNOWN_THRESHOLD)),
        ([RATE, HALF], {"randomness": HIGH}, (True, "rate", T50)),
        ([RATE, BIG], {"spans": 3}, (True, "rate", 0)),
        ([DROP, UNLESS], {"spans": 2, "matches": 1}, (False, "drop", None)),
    ],
)
def test_precedence_of_votes_and_the_threshold_of_what_is_kept(policies, row, verdict):
    ((sampled, name, threshold),) = decide(policies, [row])
    assert (sampled, name) == verdict[:2]
    if sampled:
        assert threshold == verdict[2]


def test_the_first_match_ends_the_asking():
    row = {"randomness": HIGH, "spans": 2}
    assert decide([HALF, DROP], [row], sample_on_first_match=True) == [(True, "half", T50)]
    assert decide([DROP, HALF], [row], sample_on_first_match=True)[0][:2] == (False, "drop")
    # a later policy that would always have kept it still counts for the threshold, a rate limit never
    assert decide([HALF, BIG], [row], sample_on_first_match=True) == [(True, "half", 0)]
    tight = {"name": "rate", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 1}}
    rows = [{"randomness": HIGH}, {"randomness": HIGH}, {"randomness": HIGH}, {}, {}, {}]
    sampled = [s for s, _, _ in decide([HALF, tight], rows, sample_on_first_match=True)]
    assert sampled == [True, True, True, True, True, False]


@pytest.mark.parametrize(
    ("sub", "threshold"),
    [(BIG, 0), (HALF, UNKNOWN_THRESHOLD), (RATE, UNKNOWN_THRESHOLD)],
)
def test_what_a_negated_random_policy_keeps_has_no_known_threshold(sub, threshold):
    assert (
        build(POLICY.validate_python({"name": "n", "type": "not", "not": {"not_sub_policy": sub}})).threshold
        == threshold
    )


def test_and_keeps_with_the_smaller_probability():
    tenth = {"name": "tenth", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}}
    both = POLICY.validate_python({"name": "a", "type": "and", "and": {"and_sub_policy": [HALF, tenth, BIG]}})
    assert build(both).threshold == 0xE6660000000000


def test_thresholds_beyond_the_limit_are_unknown():
    thresholds = Thresholds(3)
    numbers = thresholds.numbers(np.array([5, 0, 5, 7, UNKNOWN_THRESHOLD], np.uint64))
    assert thresholds.values[numbers].tolist() == [5, 0, 5, UNKNOWN_THRESHOLD, UNKNOWN_THRESHOLD]


def test_a_wrong_pattern_is_named():
    with pytest.raises(ValueError, match=r"'\(a' is not an RE2 pattern"):
        build(
            POLICY.validate_python(
                {"name": "s", "type": "string_attribute"}
                | {"string_attribute": {"key": "k", "values": ["(a"], "enabled_regex_matching": True}}
            )
        )
