import logging

import pytest

from collector.api import BuildContext, Outcome, Overloaded
from receivers.otlp.counts import Counts
from receivers.otlp.service import Door, Tokens, Turns
from receivers.otlp.signals import LOGS, METRICS, TRACES
from receivers.otlp.transport import Code, Kind, RefusedError


class Intake:
    """Both an intake and its permit."""

    def __init__(self, outcome=Outcome.DELIVERED, error=None, refused=1):
        self.outcome = outcome
        self.refused = refused
        self.error = error
        self.ends = []

    def admit(self, size):
        if size > 1000:
            raise Overloaded("full", 0)
        return self

    def grow(self, size):
        raise Overloaded("full", 7)

    def release(self):
        self.ends.append("release")

    def submit(self, payload, *, count, on_done, context=None):
        self.ends.append("submit")
        if self.error:
            raise self.error
        on_done(self.outcome, "reason with a secret", self.refused)


def door(intake, rules=TRACES):
    log = logging.getLogger("door")
    counts = Counts(BuildContext("otlp", log))
    return Door(rules, 10, intake, tokens=Tokens([]), counts=counts, turns=Turns(), log=log)


def answers(intake, payload=b"", kind=Kind.PROTOBUF, rules=TRACES):
    found = []
    door(intake, rules).export(payload, kind, intake, found.append)
    return found


SPAN = b"\x0a\x20\x12\x1e\x12\x1c\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x02" * 8
POINT = b"\x0a\x0a\x12\x08\x12\x06\x2a\x04\x0a\x02\x40\x01"
RECORD = b"\x0a\x06\x12\x04\x12\x02\x10\x09"
EACH = [(TRACES, SPAN, "spans"), (METRICS, POINT, "data points"), (LOGS, RECORD, "log records")]


@pytest.mark.parametrize(
    ("outcome", "code", "label", "undeliverable"),
    [
        (Outcome.DELIVERED, Code.OK, "ok", 0),
        (Outcome.FILTERED, Code.OK, "ok", 0),
        (Outcome.RETRY, Code.UNAVAILABLE, "returned", 0),
        (Outcome.REJECTED, Code.OK, "ok", 1),
    ],
)
@pytest.mark.parametrize(("rules", "payload", "items"), EACH)
def test_each_outcome_has_its_answer(rules, payload, items, outcome, code, label, undeliverable):
    intake = Intake(outcome)
    (answer,) = answers(intake, payload, rules=rules)
    assert (answer.code, answer.outcome, answer.undeliverable) == (code, label, undeliverable)
    assert bool(answer.retry_after_ns) == (code is Code.UNAVAILABLE)
    assert "secret" not in answer.message
    assert (items in answer.message) == bool(undeliverable)
    assert intake.ends == ["submit"]


@pytest.mark.parametrize("refused", [1, 3, 10])
def test_the_sender_is_told_how_many_were_refused(refused):
    (answer,) = answers(Intake(Outcome.REJECTED, refused=refused), SPAN * 10)
    assert (answer.code, answer.undeliverable) == (Code.OK, refused)


@pytest.mark.parametrize(
    ("payload", "kind", "code"),
    [
        (b"", Kind.PROTOBUF, Code.OK),
        (b"\xff", Kind.PROTOBUF, Code.INVALID_ARGUMENT),
        (b"{}", Kind.JSON, Code.OK),
        (b"{", Kind.JSON, Code.INVALID_ARGUMENT),
    ],
)
@pytest.mark.parametrize("rules", [TRACES, METRICS, LOGS])
def test_what_is_not_handed_over_gives_its_room_back(rules, payload, kind, code):
    intake = Intake()
    (answer,) = answers(intake, payload, kind, rules)
    assert answer.code is code
    assert intake.ends == ["release"]


@pytest.mark.parametrize(("rules", "payload"), [each[:2] for each in EACH])
def test_more_items_than_allowed_are_malformed(rules, payload):
    intake = Intake()
    (answer,) = answers(intake, payload * 11, rules=rules)
    assert (answer.code, answer.outcome) == (Code.INVALID_ARGUMENT, "malformed")
    assert "too many" in answer.message
    assert intake.ends == ["release"]
    assert answers(Intake(), payload * 10, rules=rules)[0].code is Code.OK


@pytest.mark.parametrize("outcome", [Outcome.DELIVERED, Outcome.REJECTED])
def test_a_log_record_with_an_unusable_id_is_taken_and_its_sender_told(outcome):
    record = b"\x4a\x03abc"
    (answer,) = answers(Intake(outcome), b"\x0a\x09\x12\x07\x12\x05" + record, rules=LOGS)
    assert (answer.code, answer.bad_ids) == (Code.OK, 0)
    assert answer.undeliverable == (outcome is Outcome.REJECTED)
    assert "belonging to none" in answer.message


def test_a_pipeline_that_breaks_is_an_internal_error_that_tells_nothing(caplog):
    (answer,) = answers(Intake(error=RuntimeError("secret")), SPAN)
    assert answer.code is Code.INTERNAL
    assert "secret" not in answer.message
    assert [record.levelname for record in caplog.records if "secret" not in record.getMessage()] == ["ERROR"]


def test_a_scanner_that_breaks_gives_the_room_back(monkeypatch):
    def broken(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("receivers.otlp.signals.validate", broken)
    intake = Intake()
    (answer,) = answers(intake, SPAN)
    assert answer.code is Code.INTERNAL
    assert intake.ends == ["release"]


def test_no_room_is_unavailable_and_never_without_a_wait():
    intake = Intake()
    with pytest.raises(RefusedError) as refused:
        door(intake).admit(2000)
    assert refused.value.answer.code is Code.UNAVAILABLE
    assert refused.value.answer.retry_after_ns > 0
    with pytest.raises(RefusedError):
        door(intake).grow(intake, 1)
    assert intake.ends == ["release"]


def test_messages_are_printable_and_short(monkeypatch):
    from collector.api import Malformed

    def refuse(*_args, **_kwargs):
        raise Malformed("bad\r\nheader: x\x00" + "é" * 500)

    monkeypatch.setattr("receivers.otlp.signals.validate", refuse)
    (answer,) = answers(Intake(), SPAN)
    assert answer.message.isascii()
    assert answer.message.isprintable()
    assert len(answer.message) < 250


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (None, False),
        ("", False),
        (b"", False),
        ("Bearer abc", True),
        (b"bearer abc", True),
        ("BEARER  abc ", True),
        ("Bearer", False),
        ("Bearer ", False),
        ("Bearer ab", False),
        ("Basic abc", False),
        ("abc", False),
        ("Bearer \udcff", False),
    ],
)
def test_tokens(value, good):
    assert Tokens(["xyz", "abc"]).allow(value) is good
    assert Tokens([]).allow(value)
