import gc
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.ack import Ack, Outcome, leaked
from collector.errors import AckError


class Answers:
    """Records what `on_done` was told."""

    def __init__(self):
        self.all = []

    def ack(self):
        return Ack(lambda outcome, reason: self.all.append((outcome, reason)))


@pytest.fixture
def answers():
    return Answers()


def test_the_order_of_outcomes_is_that_of_their_badness():
    assert Outcome.DELIVERED < Outcome.FILTERED < Outcome.REJECTED < Outcome.RETRY


def test_resolve_tells_the_outcome_and_the_reason(answers):
    ack = answers.ack()
    assert not ack.resolved
    ack.resolve(Outcome.REJECTED, "too large")
    assert ack.resolved
    assert answers.all == [(Outcome.REJECTED, "too large")]


def use(ack, how):
    if how == "resolve":
        ack.resolve(Outcome.DELIVERED)
        return []
    return ack.fork(2) if how == "fork" else [Ack.join([ack, Ack.ignore()])]


def settle(acks):
    for ack in acks:
        ack.resolve(Outcome.DELIVERED)


@pytest.mark.parametrize("first", ["resolve", "fork", "join"])
@pytest.mark.parametrize("second", ["resolve", "fork", "join"])
def test_an_ack_is_used_once(answers, first, second):
    ack = answers.ack()
    left = use(ack, first)
    with pytest.raises(AckError):
        use(ack, second)
    settle(left)
    assert answers.all == [(Outcome.DELIVERED, "")]
    with pytest.raises(AckError):
        use(ack, second)
    assert len(answers.all) == 1


@pytest.mark.parametrize("n", [0, -1])
def test_a_fork_needs_a_child(answers, n):
    ack = answers.ack()
    with pytest.raises(ValueError, match="at least one"):
        ack.fork(n)
    ack.resolve(Outcome.DELIVERED)
    assert len(answers.all) == 1


@given(st.lists(st.sampled_from(Outcome), min_size=1, max_size=8))
def test_a_fork_answers_with_the_worst_when_all_have_answered(outcomes):
    answers = Answers()
    children = answers.ack().fork(len(outcomes))
    for at, (child, outcome) in enumerate(zip(children, outcomes, strict=True)):
        assert answers.all == []
        child.resolve(outcome, str(at))
    worst = max(outcomes)
    reason = str(outcomes.index(worst)) if worst is not Outcome.DELIVERED else ""
    assert answers.all == [(worst, reason)]


@given(st.integers(1, 6), st.sampled_from(Outcome))
def test_a_join_answers_for_each(n, outcome):
    answers = Answers()
    joined = Ack.join([answers.ack() for _ in range(n)])
    assert answers.all == []
    joined.resolve(outcome, "why")
    assert answers.all == [(outcome, "why")] * n


def test_joining_one_is_that_one(answers):
    ack = answers.ack()
    assert Ack.join([ack]) is ack
    settle([ack])


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.integers(0, 30))
def test_any_network_of_forks_and_joins_answers_each_root_once_with_its_worst(chooser: random.Random, roots, steps):
    """Against a model: every live ack knows which roots it stands for; a root's answer is the worst of its leaves."""
    before = leaked()
    answers: list[list[Outcome]] = [[] for _ in range(roots)]
    live = [(Ack(lambda outcome, _reason, at=at: answers[at].append(outcome)), {at}) for at in range(roots)]
    expected = [Outcome.DELIVERED] * roots
    for _ in range(steps):
        chooser.shuffle(live)
        if chooser.random() < 0.5:
            ack, stands_for = live.pop()
            live += [(child, stands_for) for child in ack.fork(chooser.randint(1, 3))]
        else:
            taken = [live.pop() for _ in range(chooser.randint(1, len(live)))]
            live.append((Ack.join([ack for ack, _ in taken]), set().union(*(stands_for for _, stands_for in taken))))
    chooser.shuffle(live)
    for ack, stands_for in live:
        assert all(answers[at] == [] for at in stands_for)
        outcome = chooser.choice(list(Outcome))
        for at in stands_for:
            expected[at] = max(expected[at], outcome)
        ack.resolve(outcome)
    assert answers == [[outcome] for outcome in expected]
    del live, ack
    assert leaked() == before


def drop(make):
    before = leaked()
    make()
    gc.collect()
    return leaked() - before


def test_a_dropped_ack_is_counted_and_answered_with_retry(answers):
    assert drop(lambda: answers.ack()) == 1  # noqa: PLW0108 - nothing may hold what is dropped
    assert answers.all == [(Outcome.RETRY, "acknowledgement leaked")]


def test_a_dropped_child_ends_its_parent(answers):
    def one_of_two():
        first, _second = answers.ack().fork(2)
        first.resolve(Outcome.DELIVERED)

    assert drop(one_of_two) == 1
    assert answers.all == [(Outcome.RETRY, "acknowledgement leaked")]


def test_a_dropped_join_answers_each(answers):
    assert drop(lambda: Ack.join([answers.ack(), answers.ack()])) == 1
    assert answers.all == [(Outcome.RETRY, "acknowledgement leaked")] * 2


def test_what_was_used_does_not_leak(answers):
    def all_ways():
        settle(answers.ack().fork(3))
        settle([Ack.join([answers.ack(), answers.ack()])])
        settle([answers.ack(), Ack.ignore()])

    assert drop(all_ways) == 0
    assert len(answers.all) == 4


def test_the_same_ack_twice_in_a_join_is_refused_and_nothing_is_lost(answers):
    def twice():
        ack, other = answers.ack(), answers.ack()
        with pytest.raises(AckError):
            Ack.join([other, ack, ack])

    assert drop(twice) == 2
    assert answers.all == [(Outcome.RETRY, "acknowledgement leaked")] * 2  # both are still their holder's


def counts(answers):
    return Ack.counted(lambda outcome, reason, refused: answers.append((outcome, reason, refused)))


def test_a_counted_ack_hears_how_many_items_were_refused():
    answers = []
    counts(answers).resolve(Outcome.DELIVERED)
    counts(answers).resolve(Outcome.REJECTED, "bad")
    counts(answers).resolve(Outcome.REJECTED, "bad", 3)
    counts(answers).resolve(Outcome.RETRY, "full", 3)
    assert answers == [
        (Outcome.DELIVERED, "", 0),
        (Outcome.REJECTED, "bad", None),
        (Outcome.REJECTED, "bad", 3),
        (Outcome.RETRY, "full", 0),
    ]


@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=1, max_size=5), st.integers(1, 3))
def test_a_fork_adds_up_what_was_refused_and_a_join_tells_each(figures, roots):
    answers = []
    joined = Ack.join([counts(answers) for _ in range(roots)])
    for child, refused in zip(joined.fork(len(figures)), figures, strict=True):
        child.resolve(Outcome.REJECTED, "bad", refused)
    total = None if None in figures else sum(figures)
    assert answers == [(Outcome.REJECTED, "bad", total)] * roots


def test_an_ack_that_was_reclaimed_still_counts():
    answers = []
    ack = counts(answers)
    given = ack.fork(2)
    ack.reclaim().resolve(Outcome.REJECTED, "bad", 2)
    assert answers == [(Outcome.REJECTED, "bad", 2)]
    del given
