"""No input costs more than twenty times the median per byte, and none more per byte when it is longer."""

from random import Random
from statistics import median
from time import thread_time_ns

import pytest

from bench.pii_corpus.negatives import negatives
from bench.pii_corpus.positives import MAKERS, positives
from processors.pii_scrubber.detect import KIND_NAMES, CustomPattern, ValueDetectors
from processors.pii_scrubber.detect.detectors import may_hold

DETECTORS = ValueDetectors(KIND_NAMES)
LARGE = 1 << 19
MOST = 20
"""Times the median of ordinary text."""

_UNITS = """
1|12·|1·|1234·|1-|1.|1/1/|(1|+1|+1·|+49·|+49·1·|00|01·|0151·234567x·|012·345·|12·34·|123456·|123456789·|1,123,
1.1.1.1.|1.1.1.256·|255.255.255.256.|1.2.3.4.5·|a/1.1.1.1|version·1.2.3.4·|4111·1111·1111·1112·
4111111111111112·|41111111|phone·|phone·1|phone·12345·|tel·1234567z·|GB82|GB82·|GB82·WEST·|DE12·3456·
[1,512,4096]|1718000000123·|a1b2c3d4|ab12|@|a@|@a|a.|a.a@|a@b|a@b.c:d|"@|a"@|"·@|"a"@|%|%4|%40|a%40|a%40a.|%3D
%25|é|%C3%A9|x@%C3%A9|:|::|a:|1:|ab:|a::|2001:|2001::|2001:db8:|2001:1:1:1:1:1:1:1:1:|10:30:|://a:|http://a:b
a:b@|eyJ|eyJ.|eyJ·|eyJhbGci.|eyJhbGciOiJub25lIn0|eyJhbGciOiJub25lIn0·|sk-|sk-·|sk-a·|ghp\N{LOW LINE}|AKIA|AKIA·
xoxb-1·|SG.|ya29.|hvs.|sh|-|-----BEGIN·|-----BEGIN·PRIVATE·KE|Q~|1Q~|aaa8Q~|aaa8Q~·|Be|bearer·|Bearer·a·
bearer+|bearer%20|=|=·|d=|-=|password=|password=·|password=[|password='[|password=*|password="|token=
token=1·|token"=|sig=|sig=!|pass:|secret:·a|secret:·aaaaaaa·|authorization:·|authorization:·x·x|PWD=/|key%3D
-eyJ|eyJ.-|-eyJhbGciOiJub25lIn0|sk-a1-|-sk-|prod-AIza|AIza-|aaa8Q~-|a@b.js|a@b.gz.|@b.min.gz.1
+14155552671@|+14155552671@a.|4111111111111111@a-|1.2.3.4_|10.1.2.3-a_
password%3D|"password":"|\\"password\\":\\"
"""
UNITS = [unit.replace("·", " ") for unit in _UNITS.strip("\n").replace("\n", "|").split("|")]
"""Adversarial texts to be repeated; `·` is a space."""
FOUND = ("a@b.co ", "10.1.2.3 ", "2001:db8::1 ", "+491511234567 ", "4111111111111111 ", "password=abcd ")


def filled(unit, size):
    raw = unit.encode()
    return (raw * (size // len(raw) + 1))[:size]


def cost(text, repeats=3):
    """Nanoseconds of CPU a byte, the least of some measurements."""
    least = None
    for _ in range(repeats):
        begin = thread_time_ns()
        DETECTORS.scrub(text)
        spent = thread_time_ns() - begin
        least = spent if least is None else min(least, spent)
    return least / len(text)


@pytest.fixture(scope="module")
def ordinary():
    """The median over what the corpus has: texts of every kind and of none, many joined."""
    texts = [b"\n".join(example.text for example in positives(kind, 500, 1)) for kind in MAKERS]
    rnd = Random(1)
    texts += [b"\n".join(example.text for example in negatives(500, rnd)) for _ in range(len(MAKERS))]
    return median(cost(text) for text in texts)


def test_no_input_costs_more_than_twenty_times_the_median(ordinary):
    costs = {unit: cost(filled(unit, LARGE), 1) for unit in (*UNITS, *FOUND)}
    # a second look at those that another process may have disturbed
    suspects = {unit: cost(filled(unit, LARGE)) for unit, spent in costs.items() if spent > MOST / 2 * ordinary}
    assert {unit: spent / ordinary for unit, spent in suspects.items() if spent > MOST * ordinary} == {}


def test_mixtures_cost_no_more(ordinary):
    rnd = Random(5)
    for _ in range(20):
        text = "".join(rnd.choices(UNITS, k=20_000)).encode()
        assert cost(text) <= MOST * ordinary


def test_the_cost_of_a_byte_does_not_grow_with_the_length(ordinary):
    for unit in UNITS:
        long = cost(filled(unit, 1 << 19), 1)
        assert long <= 5 * cost(filled(unit, 1 << 13), 5) + ordinary, unit


def test_the_first_look_is_as_cheap(ordinary):
    for unit in UNITS:
        text = filled(unit, LARGE)
        begin = thread_time_ns()
        may_hold(DETECTORS, text)
        assert (thread_time_ns() - begin) / LARGE <= MOST * ordinary, unit


def test_a_pattern_that_would_explode_elsewhere_takes_linear_time():
    detectors = ValueDetectors([], [CustomPattern("evil", r"(a+)+$x")])
    begin = thread_time_ns()
    assert detectors.scrub(b"a" * LARGE + b"b") is None
    assert (thread_time_ns() - begin) / LARGE < 1000


def test_many_allowed_matches_and_findings_take_linear_time():
    detectors = ValueDetectors(["email"], allowed_values=["b@x.com"])
    begin = thread_time_ns()
    assert detectors.scrub(b"a@x.com b@x.com " * 20_000) == b"[email] b@x.com " * 20_000
    assert thread_time_ns() - begin < 5e9
