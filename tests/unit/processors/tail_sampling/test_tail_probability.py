import numpy as np
import pytest

from processors.tail_sampling.options import ProbabilisticOptions
from processors.tail_sampling.policies import Consistent, Hashed
from processors.tail_sampling.probability import fnv1a_64, hash_threshold, rejection_threshold
from processors.tail_sampling.traces import Traces

TRACES = 100_000
Z = 3.2905  # 99.9%, two-sided


def random_traces():
    rng = np.random.default_rng(7)
    hi, lo = rng.integers(0, 2**64, (2, TRACES), dtype=np.uint64)
    zeros = np.zeros(TRACES, np.uint64)
    small, time_ns = np.ones(TRACES, np.uint32), np.zeros(TRACES, np.int64)
    return Traces(hi, lo, zeros, zeros, zeros, lo & np.uint64(2**56 - 1), small, small, time_ns)


@pytest.mark.parametrize(
    ("percentage", "precision", "threshold"),
    [
        (100, 4, "00000000000000"),
        (50, 4, "80000000000000"),
        (10, 4, "e6660000000000"),
        (10, 3, "e6600000000000"),
        (10, 14, "e6666666666666"),
        (1, 4, "fd70a000000000"),  # one leading f, then four digits
        (25, 1, "c0000000000000"),
        (0.0001, 4, "ffffef39000000"),
    ],
)
def test_thresholds_of_percentages(percentage, precision, threshold):
    value = rejection_threshold(percentage, precision)
    assert abs((1 - value / 2**56) * 100 - percentage) <= percentage * 16.0 ** -(precision - 1)
    assert f"{value:014x}" == threshold


def test_nothing_passes_zero_percent_and_everything_a_hundred():
    traces = random_traces()
    asked = np.ones(TRACES, np.bool_)
    for compat in ("consistent", "collector"):
        kind = Consistent if compat == "consistent" else Hashed
        none = kind("p", ProbabilisticOptions(sampling_percentage=0, compat=compat))
        every = kind("p", ProbabilisticOptions(sampling_percentage=100, compat=compat))
        assert not none.vote(traces, asked).any()
        assert every.vote(traces, asked).all()
        assert every.threshold == 0


@pytest.mark.parametrize("compat", ["consistent", "collector"])
@pytest.mark.parametrize("percentage", [1, 10, 37.5])
def test_the_share_that_is_kept_is_the_one_asked_for(percentage, compat):
    kind = Consistent if compat == "consistent" else Hashed
    policy = kind("p", ProbabilisticOptions(sampling_percentage=percentage, compat=compat))
    kept = int(policy.vote(random_traces(), np.ones(TRACES, np.bool_)).sum())
    p = percentage / 100
    assert abs(kept - TRACES * p) <= Z * (TRACES * p * (1 - p)) ** 0.5


def test_a_smaller_share_is_a_subset_of_a_larger_one():
    traces, asked = random_traces(), np.ones(TRACES, np.bool_)
    small, large = (
        Consistent("p", ProbabilisticOptions(sampling_percentage=share)).vote(traces, asked) for share in (10, 30)
    )
    assert not (small & ~large & 1).any()


def test_kept_is_exactly_what_the_threshold_says():
    policy = Consistent("p", ProbabilisticOptions(sampling_percentage=10))
    traces = random_traces()
    kept = policy.vote(traces, np.ones(TRACES, np.bool_)) == 1
    assert np.array_equal(kept, traces.randomness >= np.uint64(policy.threshold))


def test_fnv_is_the_published_one():
    # FNV-1a 64 of "foobar" is a published vector; here the salt takes the text, and 16 zero bytes of id follow.
    state = 0x85944171F73967E8
    for _ in range(16):
        state = state * 0x100000001B3 % 2**64
    assert fnv1a_64(b"foobar", np.zeros(1, np.uint64), np.zeros(1, np.uint64))[0] == state


def test_fnv_takes_the_bytes_of_the_id_in_order():
    trace_id = bytes(range(1, 17))
    state = 0xCBF29CE484222325
    for byte in b"salt" + trace_id:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    hi, lo = (np.array([int.from_bytes(half, "big")], np.uint64) for half in (trace_id[:8], trace_id[8:]))
    assert fnv1a_64(b"salt", hi, lo)[0] == state


def test_the_largest_hash_kept():
    assert hash_threshold(100) == 2**64 - 1
    assert hash_threshold(0) == 0
    assert hash_threshold(50) == 2**63 - 1  # 2**63 - 0.5 fits into 64 bits of mantissa, and is cut
    assert abs(hash_threshold(10) - (2**64 - 1) // 10) <= 1024
