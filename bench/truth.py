"""What a sampler had to do with the generated traffic, and whether it did.

    python -m bench.truth --ledger sent.jsonl kept.jsonl [kept.1.jsonl ...]
    python -m bench.truth --ledger sent.jsonl --signal logs logs.jsonl

`--ledger` is what `butterfly generate --ledger` wrote; the rest are files of the `file` exporter, or one
binary ledger of `bench.sink` (`.ids`). Exit code 0: everything holds. Of metrics and logs, which nobody samples, all
that was acknowledged must be there (`bench.metric_truth`, `bench.log_truth`).
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from bench.generator.identity import mix
from bench.generator.signals import SIGNALS
from bench.generator.traces import BYZANTINE, ERROR, REASONS, SLOW
from bench.generator.traffic import Traffic
from bench.ledger import Outcome, SenderLedger, SentSpans, SinkLedger
from bench.log_truth import LogReport, compare_log_files
from bench.metric_truth import MetricReport, compare_metric_files

if TYPE_CHECKING:
    from typing import TextIO

    from numpy.typing import NDArray

    from bench.generator.identity import Words

CONFIDENCE = 0.999


def binomial_interval(count: int, share: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The two-sided interval [low, high] of successes among `count` trials: at most (1 - confidence) / 2
    lies on either side of it."""
    if count == 0 or share <= 0:
        return 0, 0
    if share >= 1:
        return count, count
    successes = np.arange(count, dtype=np.float64)
    steps = np.log((count - successes) / (successes + 1)) + math.log(share / (1 - share))
    logs = np.concatenate(([0.0], np.cumsum(steps))) + count * math.log1p(-share)
    below = np.cumsum(np.exp(logs))
    tail = (1 - confidence) / 2
    return int(np.searchsorted(below, tail)), min(count, int(np.searchsorted(below, 1 - tail)))


class Truth:
    """Per trace of what was sent: what it is made of, and why it must be kept.

    A trace *must* be kept when its acknowledged spans, without the very late ones, show an error, a
    Byzantine fault or a duration above the limit: more spans can't take any of that back. It *may* be kept
    for a reason when spans whose outcome is unknown or refused, or very late ones, would show it.
    """

    def __init__(self, sent: SentSpans, *, slow_over: float = 5.0, everything: bool = False) -> None:
        """`slow_over`: seconds, exclusive. `everything`: there is no sampler, so every trace must be kept."""
        self.sent = sent
        self.everything = everything
        self.key = trace_key(sent.high, sent.low)
        self.traces, first, row = np.unique(self.key, return_index=True, return_inverse=True)
        self.row: NDArray[np.intp] = row
        self.high, self.low = sent.high[first], sent.low[first]
        self.acked = sent.outcome == Outcome.ACKED
        self._slow_over = int(slow_over * 1e9)
        self.must = self._reasons(self.acked & ~sent.late)
        self.may = self._reasons(np.ones(len(sent), np.bool_))
        self.must_keep = (self.must != 0) | everything
        self.may_keep = (self.may != 0) | everything

    def _reasons(self, chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        sent, row = self.sent, self.row[chosen]
        reasons = np.zeros(len(self.traces), np.uint8)
        np.bitwise_or.at(reasons, row, sent.flags[chosen])
        limits = np.iinfo(np.int64)
        start = np.full(len(self.traces), limits.max, np.int64)
        end = np.full(len(self.traces), limits.min, np.int64)
        np.minimum.at(start, row, sent.start[chosen])
        np.maximum.at(end, row, sent.end[chosen])
        seen = start <= end
        slow = seen & (np.where(seen, end, 0) - np.where(seen, start, 0) > self._slow_over)
        return (reasons & np.uint8(ERROR | BYZANTINE)) | np.where(slow, SLOW, 0).astype(np.uint8)

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """How many of the chosen spans each trace has."""
        return np.bincount(self.row[chosen], minlength=len(self.traces)).astype(np.intp)

    def write(self, out: TextIO) -> None:
        """One JSON line a trace."""
        counts = {outcome: self.count(self.sent.outcome == outcome) for outcome in Outcome}
        for index in range(len(self.traces)):
            line = {
                "trace_id": f"{int(self.high[index]):016x}{int(self.low[index]):016x}",
                "spans": sum(int(counts[outcome][index]) for outcome in Outcome),
                "must_keep": bool(self.must_keep[index]),
                "reasons": [name for bit, name in REASONS.items() if self.must[index] & bit],
                **{outcome.name.lower(): int(counts[outcome][index]) for outcome in Outcome},
            }
            out.write(json.dumps(line) + "\n")


def trace_key(high: Words, low: Words) -> Words:
    """A 64-bit stand-in for 128-bit ids; two of a million traces share one with a chance of 3 in 10^8."""
    return mix(high) ^ low


def span_key(trace: Words, span: Words) -> Words:
    """The same for a span, from its trace's key and its own id."""
    return mix(trace) ^ span


@dataclass(frozen=True, slots=True)
class Report:
    """What the comparison found. Spans are counted once however often they arrived; copies are `duplicates`.

    `acked_lost`: acknowledged spans of traces that must be kept and aren't in the sink. `split_traces`:
    other traces of whose acknowledged spans some are there and some aren't. `flips`: traces of which an
    acknowledged span is missing and any other span (acknowledged, refused, of unknown outcome) is there:
    both verdicts were carried out. `extra`: spans in the sink that nobody sent. `refused_delivered`: spans
    in the sink whose sender was told no.
    """

    sent: int
    acked: int
    refused: int
    unknown: int
    arrived: int
    acked_lost: int
    split_traces: int
    flips: int
    extra: int
    refused_delivered: int
    duplicates: int
    must_keep_traces: int
    must_keep_whole: int
    other_traces: int
    other_kept: int
    confidence: float
    other_low: int
    other_high: int

    @property
    def ratio_holds(self) -> bool:
        return self.other_low <= self.other_kept <= self.other_high

    @property
    def nothing_lost(self) -> bool:
        """What must hold whatever was killed: acked_lost = split = flips = extra = 0."""
        return not (self.acked_lost or self.split_traces or self.flips or self.extra)

    @property
    def holds(self) -> bool:
        return self.nothing_lost and self.ratio_holds

    def lines(self) -> list[str]:
        ratio = self.other_kept / self.other_traces if self.other_traces else 0.0
        whole = f"{self.must_keep_whole} of {self.must_keep_traces} traces whole"
        arrived = f"{self.arrived} in the sink, {self.duplicates} duplicates"
        interval = f"{self.other_low}-{self.other_high} at {self.confidence:.4%}"
        outcomes = f"{self.acked} acked, {self.refused} refused, {self.unknown} unknown"
        return [
            f"spans: {self.sent} sent, {outcomes}; {arrived}",
            f"must keep: {whole}, {self.acked_lost} acked spans lost",
            f"others: {self.other_kept} of {self.other_traces} kept ({ratio:.2%}), interval {interval}",
            f"split {self.split_traces}, flips {self.flips}, extra {self.extra}",
            f"refused but delivered {self.refused_delivered}",
            "everything holds" if self.holds else "DOES NOT HOLD",
        ]


def compare(truth: Truth, sink: SinkLedger, *, keep_share: float = 0.1, confidence: float = CONFIDENCE) -> Report:
    """Hold what arrived against what had to. `keep_share`: of the traces that nothing forces to be kept.

    Only traces that are acknowledged whole and have no reason at all count for the share.
    """
    sent = truth.sent
    sent_keys = span_key(truth.key, sent.span)
    sink_keys = np.unique(span_key(trace_key(sink.high, sink.low), sink.span))
    present = np.isin(sent_keys, sink_keys)
    distinct_sent = np.unique(sent_keys)
    missing = truth.acked & ~present
    must = truth.must_keep[truth.row]
    acked_there = truth.count(truth.acked & present)
    acked_missing = truth.count(missing)
    there = truth.count(present)
    whole = truth.count(truth.acked) == truth.count(np.ones(len(sent), np.bool_))
    plain = whole & ~truth.may_keep
    kept = plain & (there > 0)
    low, high = binomial_interval(int(plain.sum()), keep_share, confidence)
    outcomes = np.bincount(sent.outcome, minlength=len(Outcome))
    return Report(
        sent=len(sent),
        acked=int(outcomes[Outcome.ACKED]),
        refused=int(outcomes[Outcome.REFUSED]),
        unknown=int(outcomes[Outcome.UNKNOWN]),
        arrived=len(sink_keys),
        acked_lost=int((missing & must).sum()),
        split_traces=int((~truth.must_keep & (acked_there > 0) & (acked_missing > 0)).sum()),
        flips=int(((acked_missing > 0) & (there > 0)).sum()),
        extra=int((~np.isin(sink_keys, distinct_sent)).sum()),
        refused_delivered=int((present & (sent.outcome == Outcome.REFUSED)).sum()),
        duplicates=len(sink) - len(sink_keys),
        must_keep_traces=int(truth.must_keep.sum()),
        must_keep_whole=int((truth.must_keep & (acked_missing == 0)).sum()),
        other_traces=int(plain.sum()),
        other_kept=int(kept.sum()),
        confidence=confidence,
        other_low=low,
        other_high=high,
    )


def read_sink(paths: tuple[Path, ...]) -> SinkLedger:
    """Files of the `file` exporter, or the one binary ledger (`.ids`) of `bench.sink`."""
    if len(paths) == 1 and paths[0].suffix == ".ids":
        return SinkLedger.from_records(paths[0])
    return SinkLedger.from_json_lines(paths)


@click.command()
@click.option("--ledger", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--signal", type=click.Choice(SIGNALS), default="traces", show_default=True)
@click.option("--keep-share", default=0.1, show_default=True, type=click.FloatRange(0, 1))
@click.option("--everything", is_flag=True, help="There is no sampler: every acknowledged span must be there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("sink", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(**options: Any) -> None:
    """Compare what a generator sent with what arrived."""
    sender = SenderLedger.read(options["ledger"])
    traffic = Traffic(sender.shape)
    report: Report | LogReport | MetricReport
    if options["signal"] == "logs":
        report = compare_log_files(sender, traffic, options["sink"])
    elif options["signal"] == "metrics":
        report = compare_metric_files(sender, traffic, options["sink"])
    else:
        slow_over = sender.shape.mix.slow_over
        truth = Truth(sender.sent(traffic), slow_over=slow_over, everything=options["everything"])
        report = compare(truth, read_sink(options["sink"]), keep_share=options["keep_share"])
    if options["as_json"]:
        click.echo(json.dumps({**asdict(report), "holds": report.holds}))
    else:
        click.echo("\n".join(report.lines()))
    sys.exit(0 if report.holds else 1)


if __name__ == "__main__":
    main()
