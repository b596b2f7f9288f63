from hypothesis import given, settings
from hypothesis import strategies as st

from collector.connectors.kafka.stream_time import STEP_NS, StreamTime

MS = 1_000_000
SECOND = 1_000 * MS


class Clock:
    def __init__(self):
        self.ns = 5 * SECOND

    def __call__(self):
        return self.ns


def clocked(base_ns=0):
    clock = Clock()
    return StreamTime(base_ns, clock), clock


def test_a_record_has_the_brokers_time():
    time, _ = clocked()
    assert time.record(1_700_000_000_000) == 1_700_000_000_000 * MS
    assert time.record(1_700_000_000_250) == 1_700_000_000_250 * MS


def test_jitter_of_one_clock_makes_time_stand_and_shifts_nothing():
    time, _ = clocked()
    time.record(10_000)
    assert time.record(9_500) == 10_000 * MS
    assert time.record(10_200) == 10_200 * MS


def test_a_leader_with_a_slower_clock_goes_on_where_the_last_one_was():
    time, _ = clocked()
    time.record(100_000)
    assert time.record(40_000) == 100_000 * MS
    assert time.record(43_000) == 103_000 * MS
    assert time.record(60_000) == 120_000 * MS


def test_a_step_of_just_a_second_still_is_jitter():
    time, _ = clocked()
    time.record(10_000)
    time.record(10_000 - STEP_NS // MS)
    assert time.record(10_001) == 10_001 * MS


def test_a_leader_with_a_faster_clock_makes_time_jump_once_and_the_way_back_is_shifted():
    time, _ = clocked()
    time.record(10_000)
    assert time.record(70_000) == 70_000 * MS
    assert time.record(11_000) == 70_000 * MS
    assert time.record(12_000) == 71_000 * MS


def test_time_begins_at_the_base_and_a_stale_base_is_no_hindrance():
    time, _ = clocked(50_000 * MS)
    assert time.now("a") == 50_000 * MS
    assert time.record(51_000) == 51_000 * MS


def test_a_backlog_has_its_own_time_though_it_is_later_already():
    clock = Clock()
    time = StreamTime(0, clock, newest_ns=90_000 * MS)
    assert time.now(1) == 90_000 * MS
    assert time.record(10_000) == 10_000 * MS
    assert time.now(2) == 90_000 * MS
    assert time.record(90_000) == 90_000 * MS
    clock.ns += SECOND
    assert time.now(3) == 91_000 * MS


def test_a_record_read_again_has_the_time_it_had():
    time, _ = clocked()
    first = [time.record(stamp) for stamp in (10_000, 11_000, 12_000)]
    assert [time.again(stamp) for stamp in (10_000, 11_000, 12_000)] == first


def test_a_record_read_again_is_never_newer_than_the_newest():
    time, _ = clocked()
    time.record(100_000)
    newest = time.record(40_000)
    assert time.again(100_000) == newest
    assert time.again(40_000) == newest


def test_at_the_end_of_the_log_time_goes_on_with_every_sign_of_the_broker():
    time, clock = clocked()
    time.record(10_000)
    clock.ns += 300 * MS
    assert time.now(1) == 10_300 * MS
    clock.ns += 200 * MS
    assert time.now(2) == 10_500 * MS


def test_without_a_sign_time_stands_still_and_goes_on_with_the_next():
    time, clock = clocked()
    time.record(10_000)
    clock.ns += 100 * MS
    time.now(1)
    clock.ns += 60 * SECOND
    assert time.now(1) == 10_100 * MS
    assert time.now(2) == 70_100 * MS


def test_a_record_that_is_older_than_what_passed_takes_nothing_back():
    time, clock = clocked()
    time.record(10_000)
    clock.ns += 5 * SECOND
    assert time.now(1) == 15_000 * MS
    assert time.record(12_000) == 12_000 * MS
    assert time.now(1) == 15_000 * MS
    clock.ns += 4 * SECOND
    assert time.now(2) == 16_000 * MS


event = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 200_000)),
    st.tuples(st.just("pass"), st.integers(0, 20_000)),
    st.tuples(st.just("now"), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(event, max_size=60), st.integers(0, 100_000))
def test_neither_records_nor_the_clock_ever_go_back(events, base):
    time, clock = clocked(base * MS)
    stamps, nows = [base * MS], [0]
    for kind, value in events:
        if kind == "record":
            stamps.append(time.record(value))
            assert time.again(value) <= stamps[-1]
        elif kind == "pass":
            clock.ns += value * MS
        else:
            nows.append(time.now(value))
            assert nows[-1] >= stamps[-1]
    assert stamps == sorted(stamps)
    assert nows == sorted(nows)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5_000), st.sampled_from([0, 0, 0, -3_600_000, -30_000])), max_size=50))
def test_time_passes_whatever_clock_the_leaders_have(steps):
    """Leaders whose clocks are further and further behind: each step forward of a leader's own clock still counts."""
    time, _ = clocked()
    stamp = 10_000_000_000
    last = time.record(stamp)
    for forward, change in steps:
        stamp += change
        after_change = time.record(stamp)
        assert after_change == last
        stamp += forward
        last = time.record(stamp)
        assert last == after_change + forward * MS
