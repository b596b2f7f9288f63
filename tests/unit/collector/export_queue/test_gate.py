import pytest

from collector.api import RetryOptions
from collector.export_queue.gate import LONGEST_WISH, Backoff, Gate


def backoff(share=0.5, **options):
    return Backoff(RetryOptions.model_validate(options), lambda: share)


def test_waits_grow_to_the_longest_and_no_further():
    waits = [backoff(initial_interval="1s", multiplier=2, max_interval="10s").wait(n) for n in range(1, 8)]
    assert waits == [1, 2, 4, 8, 10, 10, 10]
    assert backoff(max_interval="10s").wait(10**9) == 10


@pytest.mark.parametrize(("share", "wait"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)])
def test_jitter_is_either_way(share, wait):
    assert backoff(share, initial_interval="2s", randomization_factor=0.5).wait(1) == pytest.approx(wait)


def test_jitter_does_not_exceed_the_longest_wait():
    assert backoff(1.0, initial_interval="9s", max_interval="10s").wait(3) == 10


@pytest.mark.parametrize(("wish", "wait"), [(None, 1), (0.0, 1), (5.0, 5), (10.0**9, LONGEST_WISH)])
def test_the_backends_wish_is_a_lower_bound_with_a_cap(wish, wait):
    assert backoff(initial_interval="1s", max_interval="2s").wait(1, wish) == wait


@pytest.fixture
def gate():
    return Gate(backoff(initial_interval="1s", multiplier=2, max_interval="8s"))


def test_a_failure_closes_the_gate_for_a_growing_time(gate):
    gate.begin()
    gate.failed(0, 1, None)
    assert (gate.failing, gate.open(1.9), gate.open(2)) == (True, False, True)
    gate.begin()
    gate.failed(2, 3, None)
    assert (gate.open(4.9), gate.open(5)) == (False, True)


def test_a_failing_backend_gets_one_attempt_at_a_time(gate):
    gate.failed(0, 0, None)
    gate.begin()
    assert gate.probing
    assert not gate.open(100)
    gate.abandoned()
    assert gate.open(100)


def test_a_failure_while_others_succeed_is_that_requests_own(gate):
    gate.answered(5)
    gate.failed(4, 6, None)
    assert (gate.failing, gate.open(6)) == (False, True)


def test_a_wish_closes_the_gate_even_then_and_outlasts_an_answer(gate):
    gate.answered(5)
    gate.failed(4, 6, 10)
    assert gate.failing
    assert gate.answered(7)
    assert (gate.failing, gate.open(15.9), gate.open(16)) == (False, False, True)


def test_an_answer_ends_an_outage(gate):
    assert not gate.answered(0)
    gate.failed(1, 2, None)
    assert gate.answered(3)
    assert gate.open(3)
