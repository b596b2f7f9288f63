"""One repetition of one row: start the sink and the program, warm up, send, let it settle, read the meters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.generator.traffic import Traffic
from bench.ledger import SenderLedger, SinkLedger
from bench.peers import Place
from bench.processes import cpu_seconds, free_port, pinned
from bench.rows import Row
from bench.truth import Report, Truth, compare, span_key, trace_key

if TYPE_CHECKING:
    from bench.peers import Peer
    from bench.processes import Together

PROGRAM_CORE, LOAD_CORE = 0, 1
_WARM_SECONDS = 0.5
_WARM_RATE = 20_000
_QUIET = 1.0
_PATIENCE = 5
_SETTLE = 30.0
_CONFIDENCE = 0.999_999  # many repetitions are judged, so an unlucky draw must be rare


@dataclass(frozen=True, slots=True)
class Figures:
    """What one repetition gave. Seconds, bytes and spans. `wrong`: why the row doesn't count; empty when it does."""

    spans: int
    spans_per_second: float
    cpu_per_million: float
    cpu_share: float
    peak_rss: int
    ack_p50: float
    ack_p99: float
    delivery_p50: float
    delivery_p99: float
    sink_spans: int
    sink_tcp_bytes: int
    sink_payload_bytes: int
    load_cpu: float
    wrong: str
    tiers: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Of each process of several: CPU seconds per million spans, peak resident bytes."""


class SinkProcess:
    """`python -m bench.sink`, spoken to line by line."""

    def __init__(self, ids: Path) -> None:
        command = [sys.executable, "-m", "bench.sink", "--ids", str(ids)]
        self._process = subprocess.Popen(
            pinned(command, LOAD_CORE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.port = int(self._read().removeprefix("ready "))

    def _read(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the sink has no output")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sink has ended")
        return line.strip()

    def ask(self, word: str) -> str:
        if self._process.stdin is None:
            raise RuntimeError("the sink has no input")
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._read()

    def stats(self) -> dict[str, int]:
        answer: dict[str, int] = json.loads(self.ask("stats"))
        return answer

    def settle(self, quiet: float, *, at_least: int = 0) -> float:
        """Wait (bounded) until nothing has come for `quiet` seconds; longer while fewer than `at_least` spans have.
        When the last came, by the monotonic clock."""
        give_up = time.monotonic() + _SETTLE
        last, since = -1, time.monotonic()
        while time.monotonic() < give_up:
            spans = self.stats()["spans"]
            if spans != last:
                last, since = spans, time.monotonic()
            elif time.monotonic() - since >= (quiet if spans >= at_least else _PATIENCE * quiet):
                break
            time.sleep(0.05)
        return since

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


def generate(row: Row, port: int, seconds: float, ledger: Path, seed: int) -> tuple[dict[str, Any], float]:
    """The generator's totals and its own CPU seconds."""
    command = [sys.executable, "-m", "bench.generator", "--json", "--endpoint", f"127.0.0.1:{port}"]
    command += ["--rate", str(row.rate), "--batch", str(row.batch), "--duration", f"{seconds}s", "--seed", str(seed)]
    command += ["--ledger", str(ledger)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(pinned(command, LOAD_CORE), stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().strip()
    try:
        totals: dict[str, Any] = json.loads(text.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        raise RuntimeError(f"the generator failed: {text[-200:]}") from None
    return totals, usage.ru_utime + usage.ru_stime


def _without(warm_file: Path, sink: SinkLedger) -> SinkLedger:
    """What arrived, less stragglers of the warm-up."""
    warm = SenderLedger.read(warm_file)
    sent = warm.sent(Traffic(warm.shape))
    known = span_key(trace_key(sent.high, sent.low), sent.span)
    other = ~np.isin(span_key(trace_key(sink.high, sink.low), sink.span), known)
    return SinkLedger(sink.high[other], sink.low[other], sink.span[other], sink.at[other])


def _deliveries(row: Row, truth: Truth, sink: SinkLedger) -> tuple[float, float]:
    """p50 and p99 in seconds of the time to delivery: from the decision (a trace's first span was sent, plus the wait)
    where there is a sampler, else from a span's own sending."""
    if not len(sink) or not len(truth.sent):
        return 0.0, 0.0
    key = trace_key(sink.high, sink.low)
    if row.wait:
        began = np.full(len(truth.traces), np.iinfo(np.int64).max, np.int64)
        np.minimum.at(began, truth.row, truth.sent.at)
        where = np.minimum(np.searchsorted(truth.traces, key), len(truth.traces) - 1)
        known, started = truth.traces[where] == key, began[where]
    else:
        spans = span_key(truth.key, truth.sent.span)
        order = np.argsort(spans)
        wanted = span_key(key, sink.span)
        where = order[np.minimum(np.searchsorted(spans, wanted, sorter=order), len(order) - 1)]
        known, started = spans[where] == wanted, truth.sent.at[where]
    took = (sink.at - started)[known] / 1e9 - row.wait
    if not len(took):
        return 0.0, 0.0
    return float(np.quantile(took, 0.5)), float(np.quantile(took, 0.99))


def faults(row: Row, totals: dict[str, Any], report: Report | None) -> str:
    """Why a repetition doesn't count; empty when it does. `report`: None where nothing is forwarded."""
    if totals["refused"] or totals["unknown"]:
        return f"{totals['refused']} spans refused, {totals['unknown']} without an answer"
    if report is None or report.holds:
        return ""
    if not row.wait:
        return f"{report.acked_lost} spans lost, {report.extra} extra"
    return (
        f"{report.acked_lost} lost, {report.split_traces} split, {report.flips} flips, {report.extra} extra, "
        f"{report.other_kept} of {report.other_traces} kept"
    )


def repeat(row: Row, peer: Peer, seconds: float, seed: int) -> Figures:
    """Run it once. Raises `RuntimeError` when the program doesn't start or the generator fails."""
    with tempfile.TemporaryDirectory(prefix="butterfly-bench-") as name:
        directory = Path(name)
        sink = SinkProcess(directory / "sink.ids")
        try:
            place = Place(directory, free_port(), sink.port, free_port())
            with peer.running(row, place, PROGRAM_CORE) as program:
                return _measure(row, program, sink, place, seconds=seconds, seed=seed)
        finally:
            sink.close()


def _measure(row: Row, program: Together, sink: SinkProcess, place: Place, *, seconds: float, seed: int) -> Figures:
    warm = Row(row.workload, row.batch, row.rate or _WARM_RATE, row.wait)
    warm_file = place.directory / "warm.jsonl"
    generate(warm, place.listen, _WARM_SECONDS, warm_file, seed + 1)
    quiet = row.wait + _QUIET
    sink.settle(quiet)
    sink.ask("reset")
    before, sink_before = program.cpu_seconds(), cpu_seconds(sink.pid)
    each_before = {name: part.cpu_seconds() for name, part in program.parts.items()}
    sent_file = place.directory / "sent.jsonl"
    totals, load_cpu = generate(row, place.listen, seconds, sent_file, seed)
    during = program.cpu_seconds() - before
    last = sink.settle(quiet, at_least=totals["acked"] if row.forwards and not row.wait else 0)
    cpu = program.cpu_seconds() - before
    stats = sink.stats()
    ledger = SenderLedger.read(sent_file)
    truth = Truth(ledger.sent(Traffic(ledger.shape)), everything=row.wait == 0)
    arrived = _without(warm_file, SinkLedger.from_records(place.directory / "sink.ids"))
    report = compare(truth, arrived, confidence=_CONFIDENCE) if row.forwards else None
    half, most = _deliveries(row, truth, arrived)
    began = int(truth.sent.at.min()) / 1e9 if len(truth.sent) else last
    elapsed = max(totals["seconds"], last - row.wait - began) if row.forwards else totals["seconds"]
    return Figures(
        spans=totals["acked"],
        spans_per_second=totals["acked"] / elapsed,
        cpu_per_million=cpu / max(1, totals["acked"]) * 1e6,
        cpu_share=during / totals["seconds"],
        peak_rss=program.peak_rss(),
        ack_p50=totals["ack_p50"],
        ack_p99=totals["ack_p99"],
        delivery_p50=half,
        delivery_p99=most,
        sink_spans=stats["spans"],
        sink_tcp_bytes=stats["tcp_bytes"],
        sink_payload_bytes=stats["payload_bytes"],
        load_cpu=load_cpu + cpu_seconds(sink.pid) - sink_before,
        wrong=faults(row, totals, report),
        tiers={
            name: ((part.cpu_seconds() - each_before[name]) / max(1, totals["acked"]) * 1e6, part.peak_rss())
            for name, part in program.parts.items()
            if name
        },
    )
