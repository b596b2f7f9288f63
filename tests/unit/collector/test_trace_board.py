"""The board of verdicts and the table behind it, against a dictionary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.component.trace_board import DROPPED, KEPT, UNDECIDED, Decided, TraceBoard
from collector.component.trace_table import TraceTable


def columns(ids):
    return (
        np.array([each >> 64 for each in ids], np.uint64),
        np.array([each & (2**64 - 1) for each in ids], np.uint64),
    )


def board(**verdicts):
    it = TraceBoard()
    it.followed = True
    ids = [int(name[1:]) for name in verdicts]
    it.publish(Decided(*columns(ids), np.array(list(verdicts.values()), np.bool_)))
    return it


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 255)), max_size=200), st.integers(2, 30))
def test_the_newest_half_is_always_known_and_nothing_is_made_up(puts, capacity):
    table = TraceTable(capacity)
    newest = {}
    for trace, value in puts:
        table.put(*columns([trace]), np.array([value], np.uint8))
        newest.pop(trace, None)
        newest[trace] = value
    found = np.empty(41, np.uint8)
    table.get(*columns(range(41)), found)
    newest.pop(0, None)
    surely = list(newest)[-(capacity // 2) :]
    for trace in range(41):
        assert found[trace] in {0, newest.get(trace, 0)}, "an older or another's number"
        assert trace not in surely or found[trace] == newest[trace]


def test_both_halves_of_an_id_count_and_columns_must_agree():
    table = TraceTable(10)
    table.put(*columns([1 << 64, 1]), np.array([7, 8], np.uint8))
    found = np.empty(3, np.uint8)
    table.get(*columns([1, 1 << 64, (1 << 64) + 1]), found)
    assert list(found) == [8, 7, 0]
    with pytest.raises(ValueError, match="different lengths"):
        table.get(*columns([1]), found)
    with pytest.raises(ValueError, match="different lengths"):
        table.put(*columns([1]), found)
    with pytest.raises(ValueError, match="two traces"):
        TraceTable(1)


def test_memory_stays_within_what_the_capacity_says():
    table = TraceTable(20_000)
    for start in range(0, 100_000, 1000):
        hi, lo = columns(range(start + 1, start + 1001))
        table.put(hi, lo, np.ones(1000, np.uint8))
    assert len(table) <= 20_000
    assert table.memory <= 68 * 20_000


def test_a_board_tells_verdicts_and_that_there_are_new_ones():
    it = board(t1=True, t2=False)
    assert list(it.look_up(*columns([1, 2, 3]))) == [KEPT, DROPPED, UNDECIDED]
    before = it.version
    it.publish(Decided(*columns([]), np.array([], np.bool_)))
    assert it.version == before
    it.publish(Decided(*columns([3]), np.array([False])))
    assert it.version > before
    assert list(it.look_up(*columns([3]))) == [DROPPED]


def test_a_board_that_nobody_goes_by_remembers_nothing():
    it = TraceBoard()
    it.publish(Decided(*columns([1]), np.array([True])))
    assert list(it.look_up(*columns([1]))) == [UNDECIDED]
    assert it.memory == 0


def test_pins():
    it = TraceBoard()
    assert not it.has_pins
    it.pin(*columns([5, 6]))
    assert it.has_pins
    assert list(it.pinned(*columns([5, 7, 6]))) == [True, False, True]
