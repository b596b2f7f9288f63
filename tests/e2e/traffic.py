"""Butterfly's own traffic from inside a test: a generator in a thread, its ledger, and the comparison."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.generator.runner import Pace, Runner, Tally
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from bench.generator.transport import connect
from bench.ledger import Outcome, SenderLedger, SentSpans
from bench.log_truth import LogReport, compare_log_files
from bench.metric_truth import MetricReport, compare_metric_files
from bench.truth import Report, Truth, compare, read_sink, trace_key

if TYPE_CHECKING:
    from pathlib import Path

    from bench.generator.log_records import LogShape
    from bench.generator.metric_shape import MetricShape


class Timed(Runner):
    """Knows when each request was settled: by signal, cycle and request, as the machine's monotonic clock has it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.settled: dict[tuple[str, int, int], float] = {}

    def _settle(self, attempt: Any, outcome: Outcome) -> None:
        self.settled[attempt.signal, attempt.cycle, attempt.request] = time.monotonic()
        super()._settle(attempt, outcome)


class Sending:
    """Traffic on its way in the background; `join` ends it."""

    def __init__(
        self,
        endpoint: str,
        *,
        protocol: str = "grpc",
        seed: int = 1,
        senders: int = 4,
        batch: int = 50,
        cycle: int = 20_000,
        mix: Mix | None = None,
        logs: LogShape | None = None,
        metrics: MetricShape | None = None,
        **pace: float,
    ) -> None:
        """`logs`, `metrics`: None sends none. `pace`: what `Pace` takes."""
        shape = Shape(
            seed=seed, senders=senders, batch=batch, spans=cycle, mix=mix or Mix(), logs=logs, metrics=metrics
        )
        self.traffic = Traffic(shape)
        self.ledger = SenderLedger(shape)
        self.pace = Pace(**pace)  # type: ignore[arg-type]
        transports = connect(
            protocol, endpoint, shape.senders, timeout=10.0, compress=False, in_flight=self.pace.in_flight
        )
        signals = ["traces", *(["logs"] if logs else []), *(["metrics"] if metrics else [])]
        self.runner = Timed(self.traffic, transports, self.pace, ledger=self.ledger, signals=signals)
        self.tally: Tally | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.tally = self.runner.run()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, within: float = 120.0) -> Tally:
        self._thread.join(within)
        assert not self.running, "the generator did not end"
        assert self.tally is not None
        return self.tally

    def sent(self, wait: float | None) -> SentSpans:
        """The spans that were sent to a sampler that waits so many seconds; None for none.

        What isn't acknowledged by then, counted from when the first of its trace was sent, is late: a restart or a
        machine that was busy held it up, and it may come after the verdict. Such a span changes no verdict, and follows
        it.
        """
        sent = self.ledger.sent(self.traffic)
        if wait is None:
            return sent
        requests = self.traffic.requests
        settled = np.concatenate(
            [
                np.full(len(requests[request]), self.runner.settled["traces", cycle, request])
                for cycle, request in self.ledger.outcomes
            ]
        )
        _, row = np.unique(trace_key(sent.high, sent.low), return_inverse=True)
        first = np.full(row.max() + 1, np.inf)
        np.minimum.at(first, row, sent.at / 1e9)
        held_up = settled - first[row] > wait
        print(f"\n{held_up.sum()} of {len(sent)} spans came later than {wait:g} s after the first of their trace")
        assert held_up.sum() < len(sent) / 2, "too much was held up for verdicts to rest on the rest"
        return replace(sent, late=sent.late | held_up)

    def report(self, sink: tuple[Path, ...], *, wait: float | None, keep_share: float = 0.1) -> Report:
        """What was sent against what arrived. `wait`: seconds that the sampler waits, as in `sent`."""
        truth = Truth(self.sent(wait), slow_over=self.traffic.shape.mix.slow_over)
        assert truth.must_keep.any(), "there is nothing to lose"
        return compare(truth, read_sink(sink), keep_share=keep_share)

    def log_report(self, sink: tuple[Path, ...]) -> LogReport:
        """The same of the log records."""
        return compare_log_files(self.ledger, self.traffic, sink)

    def metric_report(self, sink: tuple[Path, ...]) -> MetricReport:
        """The same of the series' last values."""
        return compare_metric_files(self.ledger, self.traffic, sink)
