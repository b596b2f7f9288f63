"""Who is refused most, in bounded memory, and estimates of how many they are, whatever is thrown at them."""

import numpy as np
import pytest
from cardinality_requests import Sent, limiter, through

from processors.cardinality_limiter.distinct import distinct
from processors.cardinality_limiter.offenders import Offenders


def rows(ours):
    return {
        (metric.decode(), label.decode()): (distinct(registers), points, action)
        for metric, label, action, points, registers in ours.offenders.rows()
    }


@pytest.mark.parametrize("count", [0, 1, 10, 1000, 5000, 40_000])
def test_the_estimate_is_close(count):
    ours = limiter(max_series_per_metric=1, action="drop")
    for start in range(0, count + 1, 1000):
        sent = Sent()
        for number in range(start, min(start + 1000, count + 1)):
            sent.point("a", {"user": f"u{number}", "zone": "x"})
        ours.limit_request(sent.payload)
        ours.limit_request(sent.payload)
    if count == 0:
        assert rows(ours) == {}
        return
    found = rows(ours)
    assert found.keys() == {("a", ""), ("a", "user"), ("a", "zone")}
    for estimate, points, action in (found["a", ""], found["a", "user"]):
        assert estimate == pytest.approx(count, rel=0.07, abs=1)
        assert (points, action) == (2 * count, 2)
    assert found["a", "zone"] == (1, 2 * count, 2)


def test_at_a_labels_limit_that_label_is_the_offender():
    ours = limiter(max_values_per_label=1)
    sent = Sent()
    for user in "abc":
        sent.point("a", {"user": user, "zone": "x"})
    ours.limit_request(sent.payload)
    assert rows(ours) == {("a", ""): (2, 2, 1), ("a", "user"): (2, 2, 1)}


def test_who_is_refused_often_stays_in_the_list():
    ours = limiter(max_series_per_metric=1, action="drop", max_offenders=8, max_metrics=2000)
    for number in range(1000):
        sent = Sent()
        for user in range(3):
            sent.point("worst", {"user": f"{number}.{user}"})
        sent.point(f"m{number}", {}).point(f"m{number}", {"k": "v"})
        through(ours, sent)
    found = rows(ours)
    assert len(found) == 8
    assert found["worst", "user"][0] == pytest.approx(3000, rel=0.07)
    assert found["worst", ""][1] > 2900


def test_names_are_cut_and_memory_is_bounded():
    ours = limiter(max_series_per_metric=1, action="drop", max_offenders=4)
    ours.limit_request(Sent().point("n" * 500, {}).point("n" * 500, {"l" * 500: "v"}).payload)
    assert {(len(metric), len(label)) for metric, label in rows(ours)} == {(128, 0), (128, 128)}
    assert len(ours.offenders) == 2
    assert Offenders(512).memory < 1_100_000
    with pytest.raises(ValueError, match="one at least"):
        Offenders(0)


def test_few_are_counted_exactly():
    registers = np.zeros(2048, np.uint8)
    assert distinct(registers) == 0
    registers[:5] = 1
    assert distinct(registers) == 5
