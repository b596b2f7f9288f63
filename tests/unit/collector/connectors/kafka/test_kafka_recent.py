import random

import pytest

from collector.component.connector import Record
from collector.connectors.kafka.recent import PayloadBudget, RecentPayloads


def record(position, size=10):
    return Record(position, position, b"x" * size, 1)


def filled(budget, positions, size=10):
    """What a reader of `positions`, which may have gaps, keeps."""
    recent, start = RecentPayloads(budget), 0
    for position in positions:
        recent.add(start, record(position, size))
        start = position + 1
    return recent


def test_what_was_added_is_read_from_where_it_was_found():
    recent = filled(PayloadBudget(1000), [0, 1, 2])
    chunk = recent.read(1, 1000)
    assert [each.position for each in chunk.records] == [1, 2]
    assert chunk.next == 3


def test_gaps_are_stepped_over_from_their_beginning_alone():
    recent = filled(PayloadBudget(1000), [0, 5, 6])
    assert [each.position for each in recent.read(0, 1000).records] == [0, 5, 6]
    assert [each.position for each in recent.read(1, 1000).records] == [5, 6]
    assert recent.read(3, 1000) is None


@pytest.mark.parametrize(("limit", "count"), [(0, 1), (9, 1), (10, 1), (19, 1), (20, 2), (1000, 3)])
def test_a_read_stops_before_its_limit_but_gives_one_record(limit, count):
    chunk = filled(PayloadBudget(1000), [0, 1, 2]).read(0, limit)
    assert len(chunk.records) == count
    assert chunk.next == count


def test_nothing_here_is_none_and_not_an_empty_chunk():
    recent = RecentPayloads(PayloadBudget(1000))
    assert recent.read(0, 1000) is None
    assert recent.first(77) == 77


def test_the_oldest_give_way():
    recent = filled(PayloadBudget(25), [0, 1, 2])
    assert recent.first(-1) == 1
    assert recent.read(0, 100) is None
    assert recent.bytes == 20


def test_a_budget_of_nothing_keeps_nothing():
    budget = PayloadBudget(0)
    recent = filled(budget, [0, 1])
    assert (recent.bytes, budget.bytes, recent.first(9)) == (0, 0, 9)


def test_the_largest_partition_gives_way_first():
    budget = PayloadBudget(100)
    small, large = filled(budget, [0]), filled(budget, range(9))
    filled(budget, [0])
    assert (small.bytes, large.bytes) == (10, 80)


def test_what_is_settled_is_let_go():
    budget = PayloadBudget(1000)
    recent = filled(budget, [0, 4, 5])
    recent.trim(5)
    assert recent.first(-1) == 5
    assert budget.bytes == 10


def test_closing_gives_all_room_back_and_leaves_the_others_alone():
    budget = PayloadBudget(1000)
    recent, other = filled(budget, [0, 1]), filled(budget, [0])
    recent.close()
    assert (budget.bytes, budget.holders) == (10, [other])
    assert recent.read(0, 100) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_budget_is_always_the_sum_and_never_exceeded(seed):
    rng = random.Random(seed)
    budget = PayloadBudget(200)
    holders = [[RecentPayloads(budget), 0] for _ in range(3)]
    for _ in range(300):
        holder = rng.choice(holders)
        action = rng.random()
        if action < 0.7:
            start, position = holder[1], holder[1] + rng.choice([0, 0, 0, 3])
            holder[0].add(start, record(position, rng.randrange(60)))
            holder[1] = position + 1
        elif action < 0.9:
            holder[0].trim(rng.randrange(holder[1] + 1))
        else:
            holder[0].close()
            holder[:] = [RecentPayloads(budget), 0]
        assert budget.bytes == sum(each.bytes for each, _ in holders) <= budget.limit
        for recent, end in holders:
            first = recent.first(end)
            chunk = recent.read(first, 10_000)
            assert chunk is None or chunk.next == end
            assert sum(len(each.payload) for each in (chunk.records if chunk else ())) == recent.bytes
