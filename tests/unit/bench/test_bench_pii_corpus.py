from itertools import islice
from random import Random

import pytest

from bench.pii_corpus.__main__ import LEAST, main
from bench.pii_corpus.measure import corpus, measure
from bench.pii_corpus.negatives import SORTS, negatives
from bench.pii_corpus.phones import phone
from bench.pii_corpus.positives import MAKERS, positives
from processors.pii_scrubber.detect import KIND_NAMES, Kind, ValueDetectors

HELD_OUT = 20_261_124
"""A seed that nobody has tuned against."""
COUNT = 5000


@pytest.fixture(scope="module")
def scores():
    detectors = ValueDetectors(KIND_NAMES)
    return measure(
        lambda text: ((start, end, Kind(kind).name.lower()) for start, end, kind in detectors.find(text)),
        corpus(COUNT, HELD_OUT),
    )


@pytest.mark.parametrize("kind", LEAST)
def test_what_is_there_is_found(scores, kind):
    assert scores[kind].values >= COUNT
    assert scores[kind].recall >= LEAST[kind], [example.text for example in scores[kind].missed[:5]]


@pytest.mark.parametrize("kind", LEAST)
def test_what_is_found_is_there(scores, kind):
    assert scores[kind].findings >= COUNT * LEAST[kind]
    assert scores[kind].precision >= LEAST[kind], [example.text for example in scores[kind].wrong[:5]]


def test_the_corpus_has_every_kind_and_is_the_same_for_the_same_seed():
    assert set(MAKERS) == set(KIND_NAMES)
    for kind in MAKERS:
        some = list(positives(kind, 50, 3))
        assert some == list(positives(kind, 50, 3))
        assert some != list(positives(kind, 50, 4))
        assert all(example.kind == kind and 0 <= example.start < example.end <= len(example.text) for example in some)


def test_values_are_many_and_of_many_forms():
    for kind in MAKERS:
        some = list(positives(kind, 1000, 5))
        assert len({example.text[example.start : example.end] for example in some}) > 900
        assert len({example.note for example in some}) > 4
    rnd = Random(1)
    assert len({phone(rnd).note.split()[0] for _ in range(3000)}) >= 40
    assert {example.note for example in islice(negatives(100, rnd), 100)} == set(SORTS)


def test_a_detector_that_finds_nothing_has_no_recall_and_one_that_finds_all_no_precision():
    nothing = measure(lambda _: (), corpus(20, 1))
    assert all(score.recall == 0 and score.precision == 1 for score in nothing.values())
    all_of_it = measure(lambda text: ((0, len(text), "email"),), corpus(20, 1))
    assert all_of_it["email"].precision < 0.05
    assert all_of_it["phone"].recall == 0


def test_a_finding_that_reaches_far_beyond_the_value_is_wrong():
    example = next(example for example in positives("card", 50, 1) if example.start > 10)
    near = measure(lambda _: ((example.start - 1, example.end, "card"),), [example])["card"]
    far = measure(lambda _: ((example.start - 9, example.end, "card"),), [example])["card"]
    part = measure(lambda _: ((example.start + 1, example.end, "card"),), [example])["card"]
    assert (near.found, far.found, part.found) == (1, 0, 0)


def test_the_command_prints_a_line_for_each_kind(capsys):
    assert main(["--count", "200", "--seed", "7", "--errors", "1"]) in (0, 1)
    printed = capsys.readouterr().out
    assert all(f"\n{kind} " in printed for kind in (*KIND_NAMES, "keyed token"))
