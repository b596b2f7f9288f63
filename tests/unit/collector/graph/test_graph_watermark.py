"""The low-water mark never passes a record that isn't settled, whatever order they are settled in."""

from hypothesis import given
from hypothesis import strategies as st

from collector.ack import Outcome
from collector.graph.observed import Observed
from collector.graph.watermark import Watermark


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(list(Outcome))), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_position_is_the_contiguous_prefix_of_settled_records(records, random):
    order = list(range(len(records)))
    random.shuffle(order)
    mark = Watermark(5)
    acks, position = [], 5
    for gap, outcome in records:
        if gap:
            mark.skip(position + gap)
            position += gap
        acks.append((position, mark.begin(position), outcome))
        position += 1
    settled = set()
    for number, ack, outcome in (acks[each] for each in order):
        ack.resolve(outcome)
        if outcome is not Outcome.RETRY:
            settled.add(number)
        first_open = next((n for n, _, _ in acks if n not in settled), None)
        if first_open is None:
            assert mark.position == position
        else:
            before = max((n + 1 for n, _, _ in acks if n < first_open), default=5)
            assert before <= mark.position <= first_open
    assert mark.outstanding == 0


def test_a_gap_is_passed_only_after_what_stands_before_it():
    mark = Watermark(0)
    first = mark.begin(0)
    mark.skip(4)
    last = mark.begin(4)
    last.resolve(Outcome.DELIVERED)
    assert mark.position == 0
    first.resolve(Outcome.REJECTED)
    assert mark.position == 5


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 500)), max_size=30), st.data())
def test_observed_counts_come_back_once(records, data):
    observed, position, at = Observed(3), 3, {}
    for gap, count in records:
        position += gap
        observed.add(position, count)
        at[position] = count
        position += 1
    total, upto = 0, 3
    while upto < position:
        step = data.draw(st.integers(upto + 1, position))
        assert observed.take(step) == sum(count for number, count in at.items() if upto <= number < step)
        total += sum(count for number, count in at.items() if upto <= number < step)
        upto = step
    assert total == sum(at.values())
    assert observed.take(position + 10) == 0
