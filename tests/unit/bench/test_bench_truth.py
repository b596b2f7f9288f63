"""The judge: each kind of fault is found, and nothing else is called one."""

import io
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from bench.generator.traffic import Shape, Traffic
from bench.ledger import RECORD, Outcome, SenderLedger, SinkLedger
from bench.truth import Truth, binomial_interval, compare, main


@pytest.fixture(scope="module")
def traffic():
    return Traffic(Shape(seed=5, senders=4, batch=50, spans=20_000))


@pytest.fixture(scope="module")
def ledger(traffic):
    book = SenderLedger(traffic.shape)
    for request in range(len(traffic.requests)):
        book.note(0, request, Outcome.ACKED, 1_000 + request)
    return book


@pytest.fixture(scope="module")
def truth(traffic, ledger):
    return Truth(ledger.sent(traffic))


def ids(high, low, span):
    pairs = zip(high, low, span, strict=True)
    return [(int(a).to_bytes(8) + int(b).to_bytes(8), int(c).to_bytes(8)) for a, b, c in pairs]


def ideal(truth):
    """Rows of a sampler that keeps what must be kept and, of the rest, a tenth by the trace id."""
    keep = truth.must_keep | (truth.low & np.uint64((1 << 56) - 1) < np.uint64((1 << 56) // 10))
    return np.flatnonzero(keep[truth.row])


def sink_of(truth, rows):
    sent = truth.sent
    return SinkLedger.of(ids(sent.high[rows], sent.low[rows], sent.span[rows]))


def test_an_ideal_sampler_passes(truth):
    report = compare(truth, sink_of(truth, ideal(truth)))
    assert report.holds
    assert report.must_keep_whole == report.must_keep_traces > 50
    assert report.lines()[-1] == "everything holds"


def test_a_lost_span_of_a_trace_that_must_be_kept(truth):
    rows = ideal(truth)
    victim = next(row for row in rows if truth.must_keep[truth.row[row]] and (truth.row == truth.row[row]).sum() > 1)
    report = compare(truth, sink_of(truth, rows[rows != victim]))
    assert (report.acked_lost, report.split_traces, report.flips) == (1, 0, 1)
    assert report.must_keep_whole == report.must_keep_traces - 1
    assert not report.holds


def test_a_whole_lost_trace_is_lost_but_no_flip(truth):
    rows = ideal(truth)
    trace = np.flatnonzero(truth.must_keep)[0]
    report = compare(truth, sink_of(truth, rows[truth.row[rows] != trace]))
    assert report.acked_lost == (truth.row == trace).sum()
    assert report.flips == 0


def test_a_split_trace(truth):
    rows = ideal(truth)
    sizes = np.bincount(truth.row)
    victim = next(row for row in rows if not truth.must_keep[truth.row[row]] and sizes[truth.row[row]] > 1)
    report = compare(truth, sink_of(truth, rows[rows != victim]))
    assert (report.acked_lost, report.split_traces, report.flips) == (0, 1, 1)
    assert not report.nothing_lost


def test_duplicates_are_counted_and_forgiven(truth):
    rows = ideal(truth)
    report = compare(truth, sink_of(truth, np.concatenate([rows, rows[:7]])))
    assert report.duplicates == 7
    assert report.holds


def test_spans_that_nobody_sent(truth):
    sent = truth.sent
    rows = ideal(truth)
    stranger = (bytes(15) + b"\x01", bytes(7) + b"\x02")
    sink = SinkLedger.of([*ids(sent.high[rows], sent.low[rows], sent.span[rows]), stranger])
    report = compare(truth, sink)
    assert report.extra == 1
    assert not report.nothing_lost


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_a_wrong_share_is_found(truth, share):
    keep = truth.must_keep | (truth.low & np.uint64((1 << 56) - 1) < np.uint64(int((1 << 56) * share)))
    report = compare(truth, sink_of(truth, np.flatnonzero(keep[truth.row])))
    assert report.nothing_lost
    assert not report.ratio_holds


def test_spans_without_an_answer_may_be_there_or_not(traffic, ledger):
    book = SenderLedger(traffic.shape, dict(ledger.outcomes))
    book.note(0, 10, Outcome.UNKNOWN)
    truth = Truth(book.sent(traffic))
    rows = ideal(truth)
    unknown = truth.sent.outcome == Outcome.UNKNOWN
    assert compare(truth, sink_of(truth, rows)).holds
    assert compare(truth, sink_of(truth, rows[~unknown[rows]])).holds


def test_an_unknown_span_delivered_of_a_dropped_trace_is_a_flip(traffic, ledger):
    book = SenderLedger(traffic.shape, dict(ledger.outcomes))
    book.note(0, 10, Outcome.UNKNOWN)
    truth = Truth(book.sent(traffic))
    rows = ideal(truth)
    dropped = np.setdiff1d(np.arange(len(truth.sent)), rows)
    acked = truth.count(truth.acked)
    victim = next(row for row in dropped if truth.sent.outcome[row] == Outcome.UNKNOWN and acked[truth.row[row]] > 0)
    report = compare(truth, sink_of(truth, np.append(rows, victim)))
    assert (report.split_traces, report.flips) == (0, 1)


def test_refused_spans_force_nothing(traffic, ledger):
    book = SenderLedger(traffic.shape, dict.fromkeys(ledger.outcomes, (Outcome.REFUSED, 0)))
    truth = Truth(book.sent(traffic))
    report = compare(truth, SinkLedger.of([]))
    assert report.must_keep_traces == report.other_traces == 0
    assert report.nothing_lost
    assert compare(truth, sink_of(truth, np.arange(3))).refused_delivered == 3


def test_without_a_sampler_everything_must_be_there(traffic, ledger):
    truth = Truth(ledger.sent(traffic), everything=True)
    every = np.arange(len(truth.sent))
    assert compare(truth, sink_of(truth, every)).holds
    assert compare(truth, sink_of(truth, every[1:])).acked_lost == 1


def test_ledger_survives_the_file(tmp_path, traffic, ledger):
    ledger.write(tmp_path / "sent.jsonl")
    again = SenderLedger.read(tmp_path / "sent.jsonl")
    assert again == ledger
    (tmp_path / "other").write_text("[]\n")
    with pytest.raises(ValueError, match="not a sender ledger"):
        SenderLedger.read(tmp_path / "other")


def test_truth_file_has_a_line_a_trace(truth):
    out = io.StringIO()
    truth.write(out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == len(truth.traces)
    assert sum(line["spans"] for line in lines) == len(truth.sent)
    assert all(line["must_keep"] == bool(line["reasons"]) for line in lines)
    assert {reason for line in lines for reason in line["reasons"]} == {"error", "slow", "byzantine"}
    assert all(len(line["trace_id"]) == 32 for line in lines)


def otlp_line(pairs):
    spans = [{"traceId": trace.hex(), "spanId": span.hex()} for trace, span in pairs]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}) + "\n"


def test_command_reads_what_the_file_exporter_wrote(tmp_path, truth, ledger):
    ledger.write(tmp_path / "sent.jsonl")
    rows = ideal(truth)
    pairs = ids(truth.sent.high[rows], truth.sent.low[rows], truth.sent.span[rows])
    (tmp_path / "kept.1.jsonl").write_text(otlp_line(pairs[:100]) + otlp_line(pairs[100:500]))
    (tmp_path / "kept.jsonl").write_text(otlp_line(pairs[500:]) + '{"resourceSpans": [')
    files = [str(tmp_path / name) for name in ("kept.1.jsonl", "kept.jsonl")]
    run = CliRunner().invoke(main, ["--ledger", str(tmp_path / "sent.jsonl"), "--json", *files])
    assert run.exit_code == 0
    assert json.loads(run.output)["holds"] is True
    run = CliRunner().invoke(main, ["--ledger", str(tmp_path / "sent.jsonl"), files[1]])
    assert run.exit_code == 1
    assert "DOES NOT HOLD" in run.output


def test_a_bad_line_in_the_middle_is_an_error(tmp_path):
    (tmp_path / "kept.jsonl").write_text("{\n" + otlp_line([]))
    with pytest.raises(ValueError, match=r"unexpected|EOF"):
        SinkLedger.from_json_lines([tmp_path / "kept.jsonl"])


def test_binary_ledger_without_its_torn_end(tmp_path):
    rows = np.array([(1, 2, 3, 4), (5, 6, 7, 8)], RECORD)
    (tmp_path / "sink.ids").write_bytes(rows.tobytes() + b"torn")
    sink = SinkLedger.from_records(tmp_path / "sink.ids")
    assert sink.high.tolist() == [1, 5]
    assert sink.span.tolist() == [3, 7]
    assert sink.at.tolist() == [4, 8]


@pytest.mark.parametrize(("count", "share"), [(1, 0.1), (50, 0.1), (2_000, 0.1), (300_000, 0.1), (40, 0.97)])
def test_binomial_interval_holds_its_confidence(count, share):
    low, high = binomial_interval(count, share)
    chance = np.exp(
        [
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(share)
            + (count - k) * math.log1p(-share)
            for k in range(low, high + 1)
        ]
    ).sum()
    assert chance >= 0.999 - 1e-9
    assert low <= count * share <= high


def test_binomial_interval_at_the_ends():
    assert binomial_interval(0, 0.1) == (0, 0)
    assert binomial_interval(10, 0.0) == (0, 0)
    assert binomial_interval(10, 1.0) == (10, 10)
