"""The `span_metrics` connector, and the stage at the end of each pipeline that exports to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from collector.batch import Signal
from collector.component.deriving import DerivingConnector
from collector.component.processor import Stateful
from collector.connectors.span_metrics.aggregate import Aggregate
from collector.connectors.span_metrics.candidates import Candidates
from collector.connectors.span_metrics.options import SpanMetricsOptions
from collector.connectors.span_metrics.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collector.batch import Batch
    from collector.component.base import BuildContext
    from collector.component.deriving import Emit


class SpanMetricsConnector(DerivingConnector):
    """Counts spans, and how long they took, by service, name, kind and status. See docs/components/span_metrics.md."""

    Config = SpanMetricsOptions
    signals = frozenset({Signal.TRACES})
    source, target = Signal.TRACES, Signal.METRICS

    @classmethod
    def goes_by_verdicts(cls, config: SpanMetricsOptions) -> bool:
        """See `Component`."""
        return config.exemplars.enabled and config.exemplars.traces == "kept"

    def stage(self, name: str, emit: Emit, *, durable: bool) -> Stateful:
        """See `DerivingConnector`."""
        return SpanCounter(self.config, self.context, name, emit, durable=durable)


class SpanCounter(Stateful):
    """Counts the spans that pass and reports every `metrics_flush_interval` of the pipeline's time.

    Out of a durable log nothing is reported that a restart might take back: a count that went down and up again would
    be read as a reset, and counted twice. So a report is made with the state that the graph keeps, and leaves when a
    restart would begin with that one.
    """

    def __init__(
        self, config: SpanMetricsOptions, context: BuildContext, name: str, emit: Emit, *, durable: bool
    ) -> None:
        super().__init__(config, context)
        self._aggregate = Aggregate(config)
        self._report = Report(config, f"{context.id}/{name}")
        self._emit = emit
        self._durable = durable
        self._candidates: Candidates | None = None
        if config.exemplars.enabled:
            self._candidates = Candidates(context.board if config.exemplars.traces == "kept" else None)
        self._due = self._now_ns = 0
        self._snapshots = self._kept = 0
        self._changed = False
        """Whether spans were counted since the last snapshot."""
        self._wanted = False
        self._waiting: tuple[int, bytes, int] | None = None
        """A report, behind the number of the snapshot that it must not leave before."""

    def process(self, batch: Batch) -> Iterable[Batch]:
        """See `Processor`. The batch passes as it is."""
        index = batch.index
        series, buckets, durations = self._aggregate.fold(batch.payload, index, batch.mask)
        self._changed = True
        if self._candidates is not None:
            rows = np.arange(index.count) if batch.mask is None else np.flatnonzero(batch.mask)
            self._candidates.offer(index, rows, series, self._aggregate.buckets.coarse(buckets), durations)
        return (batch,)

    def tick(self, now_ns: int) -> Iterable[Batch]:
        """See `Processor`."""
        self._now_ns = max(self._now_ns, now_ns)
        if not self._aggregate.start_ns:
            self._aggregate.start_ns = self._now_ns
        if self._now_ns >= self._due:
            self._due = self._now_ns + self.config.metrics_flush_interval
            if self._durable and (self._changed or self._kept < self._snapshots):
                self._wanted = True
            else:
                self._send(*self._write())
        return ()

    def drain(self) -> Iterable[Batch]:
        """See `Processor`: a last report."""
        if self._durable:
            self._wanted = True
        else:
            self._send(*self._write())
        return ()

    def snapshot(self) -> bytes:
        """See `Stateful`."""
        self._snapshots += 1
        self._changed = False
        if self._wanted and self._waiting is None:
            self._waiting = (self._snapshots, *self._write())
            self._wanted = False
        return self._aggregate.snapshot()

    def restore(self, blob: bytes) -> None:
        """See `Stateful`."""
        self._aggregate.restore(blob)

    def kept(self, snapshots: int) -> None:
        """See `Stateful`."""
        self._kept = snapshots
        if self._waiting is not None and self._waiting[0] <= snapshots:
            _, payload, points = self._waiting
            self._waiting = None
            self._send(payload, points)

    def _write(self) -> tuple[bytes, int]:
        if not self._now_ns:
            return b"", 0
        exemplars = self._candidates.take(self.config.exemplars.max_per_data_point) if self._candidates else {}
        return self._report.write(self._aggregate, self._now_ns, exemplars)

    def _send(self, payload: bytes, points: int) -> None:
        if points:
            self._emit(payload, points)
