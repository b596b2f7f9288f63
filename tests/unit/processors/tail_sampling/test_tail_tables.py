"""The compiled tables against dicts, and their memory."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from processors.tail_sampling.trace_table import TraceTable
from processors.tail_sampling.verdict_table import VerdictTable

S = 10**9


def ids(count, rng=None):
    rng = rng or np.random.default_rng(3)
    return rng.integers(1, 2**64, (2, count), dtype=np.uint64)


def feed(table, position, now_ns, hi, lo, **columns):
    n = len(hi)

    def column(name, default, kind):
        return np.ascontiguousarray(columns.get(name, np.full(n, default)), dtype=kind)

    table.begin(position, position + 1, now_ns)
    return table.feed(
        columns.get("payload", b""), hi, lo, column("parent", 1, np.uint64), column("start", 5, np.uint64),
        column("end", 9, np.uint64), column("offset", 0, np.uint32), column("length", 10, np.uint32),
        column("matches", 0, np.uint64), column("chosen", 1, np.uint8), columns.get("row", 0),
    )  # fmt: skip


def test_columns_of_a_trace():
    table = TraceTable(VerdictTable(9, 9), max_traces=10)
    hi, lo = np.array([7, 7, 7], np.uint64), np.array([2**64 - 1] * 3, np.uint64)
    starts, ends = np.array([0, 2**63, 50], np.uint64), np.array([2**64 - 1, 0, 60], np.uint64)
    lengths, matches = np.array([2**32 - 1, 5, 5], np.uint32), np.array([1, 2**63, 0], np.uint64)
    feed(table, 4, 3 * S, hi, lo, start=starts, end=ends, length=lengths, matches=matches)
    taken = table.take_due(13 * S, 10 * S)
    assert [int(column[0]) for column in taken] == [
        7, 2**64 - 1, 2**63 + 1, 50, 2**64 - 1, 2**56 - 1, 3, 2**32 - 1, 3 * S,
    ]  # fmt: skip
    assert len(table) == 0
    assert table.boundary == 5


def test_random_traffic_fares_as_in_a_dict():
    rng, wait = random.Random(5), 40
    verdicts = VerdictTable(10**6, 10**6)
    table = TraceTable(verdicts, max_traces=10**6)
    open_, decided, now = {}, set(), 0
    keys = [(rng.getrandbits(64) | 1, rng.getrandbits(64)) for _ in range(60_000)]
    for position in range(600):
        now += rng.randrange(3)
        lately = range(max(0, position * 100 - 3000), position * 100 + 100)
        chosen = [keys[rng.choice(lately)] for _ in range(200)]
        columns = np.array(chosen, np.uint64)
        feed(table, position, now * 1000, np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1]))
        for key in chosen:
            if key not in decided:
                entry = open_.setdefault(key, [position, now, 0])
                entry[2] += 1
        roll = rng.random()
        if roll < 0.3:
            taken, due = table.take_due(now * 1000, wait * 1000), [k for k, e in open_.items() if e[1] + wait <= now]
        elif roll < 0.35:
            taken, due = table.take_oldest(700), list(open_)[:700]
        elif roll < 0.4:
            taken = table.take_begun_before(position - 10)
            due = [k for k, e in open_.items() if e[0] < position - 10]
        else:
            continue
        got = [] if taken is None else list(zip(*(column.tolist() for column in taken), strict=True))
        assert [(row[0], row[1]) for row in got] == due
        assert [(row[6], row[8]) for row in got] == [(open_[key][2], open_[key][1] * 1000) for key in due]
        for key in due:
            del open_[key]
            decided.add(key)
        if got:
            add(verdicts, due, position)
        assert len(table) == len(open_)
        assert table.boundary == min((e[0] for e in open_.values()), default=position + 1)
        some = rng.choice(keys)
        assert (table.find(*some) is None) == (some not in open_)


def add(verdicts, keys, needed_until, sampled=True, policy=3, threshold=2):
    columns = np.array(keys, np.uint64).reshape(-1, 2)
    verdicts.add(
        np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1]),
        np.full(len(keys), sampled, np.uint8), np.full(len(keys), policy, np.uint16),
        np.full(len(keys), threshold, np.uint8), needed_until,
    )  # fmt: skip


def test_a_verdict_that_the_tail_still_needs_outlives_the_limit():
    verdicts = VerdictTable(2, 2)
    for number in range(1, 9):
        add(verdicts, [(number, number)], number)
    assert len(verdicts) == 8
    verdicts.settled(4)
    assert [verdicts.find(n, n) is not None for n in range(1, 9)] == [False] * 4 + [True] * 4
    verdicts.settled(100)
    assert [verdicts.find(n, n) is not None for n in range(1, 9)] == [False] * 6 + [True] * 2


def test_a_verdict_is_replaced_by_a_later_one():
    verdicts = VerdictTable(9, 9)
    add(verdicts, [(1, 1)], 1, sampled=True, policy=1, threshold=1)
    add(verdicts, [(1, 1)], 1, sampled=False, policy=1023, threshold=255)
    assert verdicts.find(1, 1) == (False, 1023, 255)
    assert len(verdicts) == 1


def test_a_late_span_makes_its_verdict_last_until_the_tail_has_passed_it():
    verdicts = VerdictTable(1, 1)
    table = TraceTable(verdicts, max_traces=10)
    add(verdicts, [(1, 1)], 1)
    one = np.array([1], np.uint64)
    feed(table, 5, 0, one, one)
    assert (table.late_sampled, table.late_not_sampled, len(table)) == (1, 0, 0)
    assert [column.tolist() for column in table.moved_verdicts()] == [[1], [1]]
    add(verdicts, [(2, 2)], 7)
    verdicts.settled(5)
    assert verdicts.find(1, 1) is not None
    verdicts.settled(6)
    assert verdicts.find(1, 1) is None


def test_late_spans_without_end_take_no_memory():
    verdicts = VerdictTable(100, 100)
    table = TraceTable(verdicts, max_traces=10)
    add(verdicts, [(n, n) for n in range(1, 50)], 1)
    one = np.array([7], np.uint64)
    for position in range(60_000):
        feed(table, position, 0, one, one)
    assert len(verdicts) == 49
    assert verdicts.memory < 2_000_000


def test_the_table_takes_no_trace_too_many_and_goes_on_where_it_stopped():
    table = TraceTable(VerdictTable(9, 9), max_traces=3)
    hi, lo = ids(5)
    assert feed(table, 0, 0, hi, lo) == 3
    assert table.take_oversize() is None
    assert table.take_oldest(2)[0].tolist() == hi[:2].tolist()
    assert feed(table, 0, 0, hi, lo, row=3) == 5


def test_oversize_traces_are_handed_out_once():
    table = TraceTable(VerdictTable(9, 9), max_traces=9, max_spans=3, max_size=25)
    hi = np.array([1, 1, 1, 1, 2, 2, 3], np.uint64)
    feed(table, 0, 0, hi, hi, length=np.array([1, 1, 1, 1, 20, 5, 24]))
    taken = table.take_oversize()
    assert taken[0].tolist() == [1, 2]
    assert taken[6].tolist() == [4, 2]
    assert table.take_oversize() is None


def test_a_root_starts_a_timer():
    table = TraceTable(VerdictTable(9, 9), max_traces=9, time_roots=True)
    hi = np.array([1, 2], np.uint64)
    feed(table, 0, 0, hi, hi, parent=np.array([1, 0]))
    feed(table, 1, 2 * S, hi, hi, parent=np.array([0, 0]))
    assert table.take_rooted(3 * S - 1, 3 * S) is None
    assert table.take_rooted(3 * S, 3 * S)[0].tolist() == [2]
    assert table.take_oldest(1)[0].tolist() == [1]
    feed(table, 2, 4 * S, hi[:1], hi[:1], parent=np.array([0]))  # opened again: two timers are due, one trace
    assert table.take_rooted(9 * S, 3 * S)[0].tolist() == [1]
    assert table.take_rooted(99 * S, 3 * S) is None


def test_a_hole_in_time_loses_no_trace():
    table = TraceTable(VerdictTable(9, 9), max_traces=9)
    hi, lo = ids(2)
    feed(table, 2**40, 10 * S, hi[:1], lo[:1])
    days = 3 * 86_400 * S
    assert table.take_due(days, 3600 * S)[8].tolist() == [10 * S]
    feed(table, 2**40 + 2**33, days, hi, lo)
    assert table.boundary == 2**40 + 2**33
    assert table.take_due(days + 3600 * S - 1, 3600 * S) is None
    assert len(table.take_due(days + 3600 * S, 3600 * S)[0]) == 2


@pytest.mark.parametrize(
    ("state", "randomness"),
    [
        (b"ot=rv:0123456789abcd", 0x0123456789ABCD),
        (b"a=b , ot=th:8;rv:ffffffffffffff\t,c=d", 2**56 - 1),
        (b"ot=rv:0123456789abc", None),
        (b"ot=rv:0123456789ABCD", None),
        (b"ot=rv:0123456789abcde", None),
        (b"xot=rv:0123456789abcd", None),
        (b"ot=th:8,ot=rv:0123456789abcd", None),  # the first member counts
        (b"ot=", None),
        (b"", None),
    ],
)
def test_randomness_of_the_tracestate(state, randomness):
    table = TraceTable(VerdictTable(9, 9), max_traces=9, read_randomness=True)
    span = b"\x0a\x01x\x28\x80\x01\x39" + bytes(8) + b"\x1a" + bytes([len(state)]) + state + b"\x85\x01\x00\x00\x00\x00"
    hi, lo = ids(1)
    feed(table, 0, 0, hi, lo, payload=b"##" + span, offset=np.array([2]), length=np.array([len(span)]))
    want = int(lo[0]) & (2**56 - 1) if randomness is None else randomness
    assert table.take_oldest(1)[5].tolist() == [want]


@pytest.mark.parametrize(
    "span",
    [b"\x1a", b"\x1a\x7fot=", b"\xff" * 12, b"\x39\x00", b"\x3d\x00", b"\x0b\x0c", b"\x1a" + b"\xff" * 9 + b"\x01"],
)
def test_a_span_that_is_cut_short_is_not_read_beyond(span):
    table = TraceTable(VerdictTable(9, 9), max_traces=9, read_randomness=True)
    hi, lo = ids(1)
    feed(table, 0, 0, hi, lo, payload=span, length=np.array([len(span)]))
    assert table.take_oldest(1)[5].tolist() == [int(lo[0]) & (2**56 - 1)]


def test_rows_outside_the_payload_are_not_read():
    table = TraceTable(VerdictTable(9, 9), max_traces=9, read_randomness=True)
    hi, lo = ids(1)
    feed(table, 0, 0, hi, lo, payload=b"xy", offset=np.array([2**32 - 1]), length=np.array([2**32 - 1]))
    assert len(table) == 1


def test_columns_of_different_lengths_are_refused():
    table, (hi, lo) = TraceTable(VerdictTable(9, 9), max_traces=9), ids(2)
    with pytest.raises(ValueError, match="different lengths"):
        feed(table, 0, 0, hi, lo, end=np.zeros(1))
    with pytest.raises(ValueError, match="different lengths"):
        feed(table, 0, 0, hi, lo, row=-1)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_an_open_trace_takes_64_bytes():
    """1.2 million open traces: what a decision_wait of 10 minutes holds at 10,000 spans/s in traces of 5."""
    count = 1_200_000
    hi, lo = ids(count)
    before = resident()
    table = TraceTable(VerdictTable(9, 9), max_traces=2 * count)
    for start in range(0, count, 10_000):
        feed(table, start, start, hi[start : start + 10_000], lo[start : start + 10_000])
    assert len(table) == count
    assert table.memory / count <= 64
    assert (resident() - before) / count <= 66  # the pages of one batch's columns come on top
    table.take_oldest(count)
    assert table.memory < 1_000_000


def test_traces_decided_early_leave_no_room_behind():
    """A few old traces stay open while millions of younger ones come and go."""
    table = TraceTable(VerdictTable(9, 9), max_traces=10**6, max_spans=2)
    hi, lo = ids(100)
    feed(table, 0, 0, hi, lo)
    for position in range(1, 200):
        younger = ids(5_000, np.random.default_rng(position))
        feed(table, position, 0, *(np.repeat(half, 2) for half in younger))
        assert len(table.take_oversize()[0]) == 5_000
    assert len(table) == 100
    assert table.memory < 2_000_000
    assert table.take_oldest(100)[1].tolist() == lo.tolist()


def test_ids_that_differ_in_one_half_only_are_as_fast_as_others():
    """A hash without its seed would put such ids on one heap."""
    count = 100_000
    same, counting = np.full(count, 1, np.uint64), np.arange(count, dtype=np.uint64) << np.uint64(40)
    taken = []
    for hi, lo in (ids(count), (same, counting), (counting, same)):
        table = TraceTable(VerdictTable(9, 9), max_traces=count)
        began = time.thread_time()
        feed(table, 0, 0, hi, lo)
        taken.append(time.thread_time() - began)
    assert max(taken[1:]) < 10 * taken[0] + 0.05
