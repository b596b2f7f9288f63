"""The processor as a component: booking, metrics, journal, early decisions, answers for people."""

import logging

import numpy as np
import pytest
from google.protobuf import text_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import Account, Ack, Batch, BuildContext, Malformed, Signal
from processors.tail_sampling import TailSampling, journal
from processors.tail_sampling import processor as tail_processor

S = 10**9
ERRORS = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
BYZANTINE = {"name": "byzantine", "type": "byzantine"}


def trace(number):
    return number.to_bytes(16, "big")


def record(*spans):
    """Each span: (trace number, is error), and whatever else is given as a dict."""
    request = ExportTraceServiceRequest()
    out = request.resource_spans.add().scope_spans.add().spans
    for serial, (number, error, *more) in enumerate(spans):
        span = out.add(trace_id=trace(number), span_id=(serial + 1).to_bytes(8, "big"), name="layer.execute")
        span.status.code = 2 if error else 0
        for name, value in (more[0] if more else {}).items():
            setattr(span, name, value)
    return request


class Sampler:
    """A sampler with the graph's part around it."""

    def __init__(self, *policies, blobs=(), **options):
        self.context = BuildContext("tail_sampling", logging.getLogger("test"))
        plain = {"policies": list(policies) or [ERRORS], "decision_wait": "10s"} | options
        self.it = TailSampling(TailSampling.Config.model_validate(plain), self.context)
        for blob in blobs:
            self.it.restore(blob)
        self.account = Account("traces")
        self.next = 0

    def observe(self, request, seconds):
        self.it.tick(int(seconds * S))
        self.it.observe(Batch(request.SerializeToString(), Ack.ignore()), self.next, self.next + 1, int(seconds * S))
        self.next += 1

    def process(self, request):
        payload = request.SerializeToString()
        batch = Batch(payload, Ack.ignore(), account=self.account)
        self.account.accept(len(batch))
        (out,) = self.it.process(batch)
        assert self.account.imbalance() == 0
        return [s for r in ExportTraceServiceRequest.FromString(out.to_bytes()).resource_spans
                for scope in r.scope_spans for s in scope.spans]  # fmt: skip

    def metric(self, name, **labels):
        labels = {"processor": "tail_sampling"} | labels
        return self.context.meter.registry.get_sample_value(f"butterfly_sampling_{name}", labels)


def test_a_trace_is_judged_whole_over_records():
    sampler = Sampler()
    first, second = record((1, False), (2, False)), record((1, True), (2, False))
    sampler.observe(first, 0)
    sampler.observe(second, 9)
    assert sampler.it.boundary() == 0
    assert sampler.it.explain(trace(1)) == {"state": "open", "spans": 2, "bytes": 92, "due_ns": 10 * S}
    assert sampler.it.tick(10 * S) == ()
    assert sampler.it.boundary() == 2
    assert [span.trace_id for request in (first, second) for span in sampler.process(request)] == [trace(1)] * 2
    assert sampler.account.filtered == {"not_sampled": 2}
    assert sampler.metric("traces_total", policy="errors", decision="sampled") == 1
    assert sampler.metric("traces_total", policy="none", decision="not_sampled") == 1
    assert sampler.metric("spans_total", decision="sampled") == 2
    assert sampler.metric("open_traces") == 0
    assert sampler.metric("table_bytes") > 0


def test_answers_for_people():
    sampler = Sampler()
    assert sampler.it.explain(trace(1)) is None
    sampler.observe(record((1, True)), 0)
    sampler.it.shed(1)
    answer = sampler.it.explain(trace(1))
    assert (answer["state"], answer["policy"]) == ("sampled", "errors")
    assert (answer["early"], answer["spans"], answer["threshold"]) == ("pressure", 1, "0" * 14)
    small = Sampler(recent_verdicts=1)
    small.observe(record((1, True), (2, False)), 0)
    small.it.tick(10 * S)
    assert "spans" not in small.it.explain(trace(1))
    assert small.it.explain(trace(1))["state"] == "sampled"
    assert small.it.explain(trace(2))["spans"] == 1


@pytest.mark.parametrize(
    ("options", "act", "cause"),
    [
        ({}, lambda it: it.shed(99), "pressure"),
        ({}, lambda it: it.decide_all(), "shutdown"),
        ({"num_traces": 1}, lambda it: None, "num_traces"),
        ({"max_spans_per_trace": 1}, lambda it: None, "trace_size"),
        ({"maximum_trace_size_bytes": "20"}, lambda it: None, "trace_size"),
    ],
)
def test_early_decisions_are_counted_and_stick(options, act, cause):
    sampler = Sampler(**options)
    sampler.observe(record((1, False)), 0)
    sampler.observe(record((2, False)), 0)
    act(sampler.it)
    assert sampler.metric("early_decisions_total", cause=cause) >= 1
    assert sampler.it.explain(trace(1))["state"] == "not_sampled"
    sampler.observe(record((1, True)), 1)
    assert sampler.it.explain(trace(1))["state"] == "not_sampled"
    assert sampler.metric("late_spans_total", decision="not_sampled") == 1


def test_pending_traces_can_be_dropped_at_shutdown():
    sampler = Sampler(drop_pending_traces_on_shutdown=True)
    sampler.observe(record((1, True)), 0)
    sampler.it.decide_all()
    assert sampler.process(record((1, True))) == []


def test_the_root_shortens_the_wait():
    sampler = Sampler(decision_wait_after_root_received="2s")
    child = {"parent_span_id": b"12345678"}
    sampler.observe(record((1, False, child), (2, False, child)), 0)
    sampler.observe(record((1, False)), 3)
    sampler.it.tick(5 * S - 1)
    assert sampler.it.boundary() == 0
    sampler.it.tick(5 * S)
    assert sampler.it.explain(trace(1))["state"] == "not_sampled"
    assert sampler.it.explain(trace(2))["state"] == "open"
    assert sampler.metric("early_decisions_total", cause="pressure") is None


def test_a_restart_follows_the_journal_whatever_the_policies_say_now():
    sampler = Sampler()
    requests = record((1, True), (2, False)), record((1, False), (3, True))
    sampler.observe(requests[0], 0)
    sampler.it.tick(10 * S)
    verdicts = sampler.it.take_verdicts()
    assert verdicts.count == 2
    assert len(verdicts.blob) == 32 + 2 * 32
    assert sampler.it.take_verdicts() is None

    again = Sampler({"name": "all", "type": "always_sample"}, blobs=[verdicts.blob])
    for number, request in enumerate(requests):
        again.observe(request, 20 + number)
    assert again.metric("late_spans_total", decision="sampled") == 2
    assert again.it.explain(trace(1))["policy"] == "earlier_configuration"
    again.it.tick(40 * S)
    assert [len(again.process(request)) for request in requests] == [1, 2]
    same = Sampler(blobs=[verdicts.blob])
    assert same.it.explain(trace(1))["policy"] == "errors"


def test_a_verdict_that_a_late_span_follows_is_written_to_the_journal_again():
    sampler = Sampler()
    sampler.observe(record((1, True)), 0)
    sampler.it.tick(10 * S)
    sampler.it.take_verdicts()
    sampler.observe(record((1, False), (1, False)), 20)
    again = sampler.it.take_verdicts()
    assert again.count == 1
    assert Sampler(blobs=[again.blob]).it.explain(trace(1))["state"] == "sampled"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda blob: blob[:10], "cut short"),
        (lambda blob: blob[:-1], "damaged"),
        (lambda blob: blob[:-1] + b"\xff", "damaged"),
        (lambda blob: b"XXXX" + blob[4:], "not written by"),
        (lambda blob: blob[:4] + b"\x63" + blob[5:], "layout 99"),
    ],
)
def test_a_damaged_journal_is_a_clear_error(damage, words):
    sampler = Sampler()
    sampler.observe(record((1, True)), 0)
    sampler.it.decide_all()
    with pytest.raises(journal.DamagedJournalError, match=words):
        Sampler(blobs=[damage(sampler.it.take_verdicts().blob)])


def test_a_span_without_a_valid_trace_id_is_booked_and_dropped():
    sampler = Sampler({"name": "all", "type": "always_sample"})
    request = record((1, False), (0, False))
    request.resource_spans[0].scope_spans[0].spans.add(trace_id=b"short", name="x")
    sampler.observe(request, 0)
    sampler.it.tick(10 * S)
    assert len(sampler.process(request)) == 1
    assert sampler.account.filtered == {"invalid_trace_id": 2}


def test_a_record_that_was_never_observed_is_decided_on_its_own():
    sampler = Sampler()
    assert len(sampler.process(record((1, True), (2, False)))) == 1
    assert sampler.metric("early_decisions_total", cause="unobserved") == 2
    assert sampler.it.take_verdicts().count == 2


def test_a_record_that_is_not_otlp_stops_nobody_at_the_head_and_is_an_error_at_the_tail():
    sampler = Sampler()
    garbage = Batch(b"\xff\xff", Ack.ignore())
    sampler.it.observe(garbage, 0, 1, 0)
    assert sampler.it.boundary() == 1
    with pytest.raises(Malformed):
        list(sampler.it.process(garbage))


def test_copies_are_dropped_for_two_waits_and_booked():
    sampler = Sampler()
    request = record((1, True))
    for position, seconds in enumerate((0, 5, 12, 40)):
        sampler.observe(request, seconds)
        sampler.it.tick(int(seconds + 10) * S if seconds == 0 else 0)
        kept = sampler.process(request)
        assert len(kept) == (1 if seconds in (0, 40) else 0)
        sampler.it.settled(position + 1)
    assert sampler.account.filtered == {"duplicate": 2}
    assert sampler.metric("duplicate_spans_total") == 2


def test_copies_can_be_kept():
    sampler = Sampler(drop_duplicates=False)
    request = record((1, True))
    sampler.observe(request, 0)
    sampler.it.tick(10 * S)
    assert [len(sampler.process(request)) for _ in range(2)] == [1, 1]


def test_a_record_whose_rewriting_fails_is_not_its_own_copy_the_next_time(monkeypatch):
    sampler = Sampler()
    request = record((1, True))
    sampler.observe(request, 0)
    sampler.it.tick(10 * S)

    def fail(*args):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("processors.tail_sampling.processor.sample", fail)
        with pytest.raises(MemoryError):
            list(sampler.it.process(Batch(request.SerializeToString(), Ack.ignore())))
    assert len(sampler.process(request)) == 1


def test_an_earlier_selection_is_respected_on_both_readings():
    sampler = Sampler()
    request = record((1, True), (1, False), (2, True))
    payload, mask = request.SerializeToString(), np.array([False, True, True])
    sampler.it.observe(Batch(payload, Ack.ignore(), mask=mask), 0, 1, 0)
    assert sampler.it.explain(trace(1))["spans"] == 1
    sampler.it.tick(10 * S)
    (out,) = sampler.it.process(Batch(payload, Ack.ignore(), mask=mask))
    assert len(out) == 1
    assert ExportTraceServiceRequest.FromString(out.to_bytes()).resource_spans[0].scope_spans[0].spans[
        0
    ].trace_id == trace(2)


def test_the_policy_is_recorded_on_the_root_or_the_first_span():
    sampler = Sampler(record_policy=True)
    child = {"parent_span_id": b"12345678"}
    request = record((1, True, child), (1, False), (2, True, child), (2, False, child))
    sampler.observe(request, 0)
    sampler.it.tick(10 * S)
    notes = [{a.key: a.value.string_value for a in span.attributes} for span in sampler.process(request)]
    note = {"butterfly.sampling.policy": "errors"}
    assert notes == [{}, note, note, {}]


DETECTED = 'attributes { key: "butterfly.byzantine.detected" value { %s } }'
RESULT = 'attributes { key: "butterfly.verification.result" value { string_value: "%s" } }'
SIGNS = {
    "fault type": 'attributes { key: "butterfly.byzantine.fault_type" }',
    "detected": DETECTED % "bool_value: true",
    "detected, as a string": DETECTED % 'string_value: "true"',
    "detected, on an event": "events { name: 'x' %s }" % (DETECTED % "bool_value: true"),
    "event": 'events { name: "byzantine.fault_detected" }',
    "another event": 'events { name: "byzantine.verification_failed" }',
    "verification with an error": 'name: "byzantine.verify" status { code: STATUS_CODE_ERROR }',
    "failed verification": 'name: "checkpoint.verify"' + RESULT % "failed",
}
NO_SIGNS = {
    "nothing": "",
    "not detected": DETECTED % "bool_value: false",
    "another error": "status { code: STATUS_CODE_ERROR }",
    "another event": 'events { name: "byzantine.check" }',
    "verification that passed": 'name: "byzantine.verify"' + RESULT % "ok",
    "failed result elsewhere": RESULT % "failed",
}


@pytest.mark.parametrize(
    ("text", "kept"), [(text, 2) for text in SIGNS.values()] + [(text, 0) for text in NO_SIGNS.values()]
)
def test_byzantine_signs(text, kept):
    sampler = Sampler(BYZANTINE)
    request = record((1, False), (1, False))
    span = request.resource_spans[0].scope_spans[0].spans[1]
    span.ClearField("name")
    text_format.Merge(text, span)
    sampler.observe(request, 0)
    sampler.it.tick(10 * S)
    assert len(sampler.process(request)) == kept


def test_gauges_add_up_over_partitions():
    sampler = Sampler()
    other = TailSampling(sampler.it.config, sampler.context)
    for it in (sampler.it, other):
        it.observe(Batch(record((1, False)).SerializeToString(), Ack.ignore()), 0, 1, 0)
    assert sampler.metric("open_traces") == 2


def test_the_head_stops_while_too_many_verdicts_wait_for_the_tail_and_goes_on_when_it_moves(monkeypatch):
    monkeypatch.setattr(tail_processor, "MAX_UNSETTLED", 3)
    sampler = Sampler(decision_cache={"sampled_cache_size": 1, "non_sampled_cache_size": 1})
    sampler.observe(record(*((number, False) for number in range(1, 7))), 0)
    assert sampler.it.has_room()
    sampler.it.tick(10 * S)
    assert not sampler.it.has_room()
    sampler.it.settled(1)
    assert sampler.it.has_room()


def test_it_takes_traces_alone_and_keeps_as_much_journal_as_cache():
    assert TailSampling.signals == frozenset({Signal.TRACES})
    cache = {"sampled_cache_size": 10, "non_sampled_cache_size": 20}
    assert Sampler(decision_cache=cache).it.journal_entries == 30


def test_what_was_restored_leaves_room_to_read_it_again(monkeypatch):
    """A restart while a backend is away: the verdicts that wait can only be settled by reading on."""
    monkeypatch.setattr(tail_processor, "MAX_UNSETTLED", 10)
    cache = {"sampled_cache_size": 5, "non_sampled_cache_size": 5}
    first = Sampler(decision_cache=cache)
    for number in range(25):
        first.observe(record((number + 1, True)), 0)
    first.it.decide_all()
    assert not first.it.has_room()
    second = Sampler(decision_cache=cache, blobs=[first.it.take_verdicts().blob])
    for number in range(25):
        assert second.it.has_room()
        second.observe(record((number + 1, True)), 0)
    assert not second.it.has_room()
    second.it.settled(25)
    assert second.it.has_room()


def test_a_pinned_trace_is_kept_and_represents_itself_unless_a_policy_drops_it():
    drop = {"name": "health", "type": "drop", "drop": {"drop_sub_policy": [
        {"name": "ok", "type": "span_count", "span_count": {"min_spans": 2}}]}}  # fmt: skip
    tenth = {"name": "tenth", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}}
    sampler = Sampler(ERRORS, tenth, drop)
    both = record((1, False), (2, False), (3, False), (3, False), (4, True))
    sampler.context.board.pin(np.zeros(3, np.uint64), np.array([2, 3, 4], np.uint64))
    sampler.observe(both, 0)
    sampler.it.tick(11 * S)
    kept = sampler.process(both)
    assert [int.from_bytes(span.trace_id, "big") for span in kept] == [2, 4]
    assert [span.trace_state for span in kept] == ["ot=th:0", "ot=th:0"]
    assert sampler.metric("traces_total", policy="pinned", decision="sampled") == 1
    assert sampler.it.explain(trace(2))["policy"] == "pinned"
    decided = sampler.it.decided_in(sampler.it.take_verdicts().blob)
    assert dict(zip(decided.lo.tolist(), decided.kept.tolist(), strict=True)) == {1: False, 2: True, 3: False, 4: True}
