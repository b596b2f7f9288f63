"""The judge of what VictoriaLogs holds."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench import backends
from bench.backends import check_records
from bench.generator.identity import looks_personal
from bench.ledger import Outcome
from processors.pii_scrubber.detect import KIND_NAMES, ValueDetectors

PLAIN, CARD, ACCOUNT = "0123456789abcdef", "4111111111111111", "be41177599562371"


def check(monkeypatch, sent, lines):
    """Of a run in which one request with records of these ids was acknowledged."""
    monkeypatch.setattr(backends, "record_ids", lambda *_: np.array([int(each, 16) for each in sent], np.uint64))
    ledger = SimpleNamespace(logs={(0, 0): (Outcome.ACKED, 0)}, shape=SimpleNamespace(seed=1))
    traffic = SimpleNamespace(logs=SimpleNamespace(requests=[SimpleNamespace(rows=None)]))
    found = [b'{"log_record_uid":"%s"}' % each.encode() for each in lines]
    return check_records(SimpleNamespace(lines=lambda _: found), ledger, traffic, within=0)


def test_ids_that_the_scrubber_masked_are_not_missed(monkeypatch):
    assert not check(monkeypatch, [PLAIN, CARD, ACCOUNT], [PLAIN, "[card]", "[iban]"]).wrong


def test_any_other_is(monkeypatch):
    assert "lost: 1 of 0" in check(monkeypatch, [PLAIN, CARD], [CARD]).wrong


@pytest.mark.parametrize(("text", "personal"), [(PLAIN, False), (CARD, True), (ACCOUNT, True)])
def test_what_the_scrubber_masks_looks_personal(text, personal):
    assert looks_personal(text) is personal
    assert (ValueDetectors(KIND_NAMES).scrub(text.encode()) is not None) is personal
