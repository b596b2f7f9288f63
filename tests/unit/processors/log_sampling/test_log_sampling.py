"""Which log records leave, by the verdicts on the board and by what they say themselves."""

import logging

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.api import Account, Ack, Batch, BuildContext, Decided, Signal
from processors.log_sampling import LogSampling

KEPT, DROPPED, OPEN, NONE = 1, 2, 3, 0
DEBUG, INFO, WARN, ERROR = 5, 9, 13, 17


def columns(*traces):
    return np.zeros(len(traces), np.uint64), np.array(traces, np.uint64)


def records(*wanted):
    """Each: (text, trace number, severity)."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for text, number, severity in wanted:
        record = scope.log_records.add(severity_number=severity, time_unix_nano=3)
        record.body.string_value = text
        record.trace_id = number.to_bytes(16, "big") if number else b""
    return request


class Sampling:
    def __init__(self, **options):
        self.context = BuildContext("log_sampling", logging.getLogger("test"))
        self.context.board.followed = True
        self.it = LogSampling(LogSampling.Config.model_validate(options), self.context)
        self.context.board.publish(Decided(*columns(KEPT, DROPPED), np.array([True, False])))
        self.account = Account("logs")

    def batch(self, *wanted):
        return Batch(records(*wanted).SerializeToString(), Ack.ignore(), signal=Signal.LOGS, account=self.account)

    def texts(self, *wanted):
        batch = self.batch(*wanted)
        self.account.accept(len(batch))
        (out,) = self.it.process(batch)
        assert self.account.imbalance() == 0
        scopes = [s for r in ExportLogsServiceRequest.FromString(out.to_bytes()).resource_logs for s in r.scope_logs]
        return [record.body.string_value for scope in scopes for record in scope.log_records]


def test_records_go_with_their_trace_but_for_the_severe_ones():
    sampling = Sampling(keep_severity="WARN")
    kept = sampling.texts(
        ("a", KEPT, INFO), ("b", DROPPED, INFO), ("c", DROPPED, WARN), ("d", DROPPED, ERROR), ("e", DROPPED, 0),
        ("f", OPEN, INFO), ("g", NONE, DEBUG),
    )  # fmt: skip
    assert kept == ["a", "c", "d", "f", "g"]
    assert sampling.account.filtered == {"trace_dropped": 2}


def test_what_stays_undecided_can_be_dropped_too():
    sampling = Sampling(undecided=False)
    assert sampling.texts(("f", OPEN, INFO), ("g", OPEN, ERROR), ("h", NONE, INFO)) == ["g", "h"]
    assert sampling.account.filtered == {"trace_undecided": 1}


def test_a_share_of_the_records_without_a_trace_is_kept_and_copies_meet_the_same_fate():
    sampling = Sampling(without_trace={"sampling_percentage": 20})
    many = [(f"line {number}", NONE, INFO) for number in range(4000)]
    kept = sampling.texts(*many)
    assert 640 < len(kept) < 960  # 6 standard deviations
    assert sampling.texts(*reversed(many)) == kept[::-1]
    assert sampling.texts(("severe", NONE, ERROR), ("traced", KEPT, INFO)) == ["severe", "traced"]
    assert sampling.account.filtered == {"without_trace": 2 * (4000 - len(kept))}
    assert Sampling(without_trace={"sampling_percentage": 0}).texts(*many) == []
    assert len(Sampling(without_trace={"sampling_percentage": 100}).texts(*many)) == 4000


def test_only_records_that_depend_on_a_verdict_wait():
    sampling = Sampling()
    sampling.it.observe(sampling.batch(("a", KEPT, INFO), ("b", OPEN, ERROR), ("c", NONE, INFO)), 0, 1, 0)
    assert sampling.it.boundary() == 1
    sampling.it.observe(sampling.batch(("a", OPEN, INFO)), 1, 2, 0)
    assert sampling.it.boundary() == 1
    sampling.context.board.publish(Decided(*columns(OPEN), np.array([False])))
    assert sampling.it.boundary() == 2


def test_severe_records_can_ask_for_their_trace():
    sampling = Sampling(pin_severity="ERROR")
    sampling.it.observe(sampling.batch(("a", 7, ERROR), ("b", 8, WARN), ("c", NONE, ERROR)), 0, 1, 0)
    assert list(sampling.context.board.pinned(*columns(7, 8))) == [True, False]
    assert not Sampling().context.board.has_pins


def test_severities_have_names():
    assert LogSampling.Config.model_validate({"keep_severity": "fatal"}).keep_severity == 21
    with pytest.raises(ValueError, match="expected one of TRACE, DEBUG, INFO, WARN, ERROR, FATAL, NEVER"):
        LogSampling.Config.model_validate({"keep_severity": "loud"})
