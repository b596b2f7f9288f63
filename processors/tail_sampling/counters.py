"""What the sampler counts: once per tick or batch, never per span."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.api import BuildContext, Meter
    from processors.tail_sampling.decision import PolicySet, Verdict
    from processors.tail_sampling.fingerprints import Fingerprints
    from processors.tail_sampling.trace_table import TraceTable
    from processors.tail_sampling.traces import Traces
    from processors.tail_sampling.verdict_table import VerdictTable

CAUSES = ("", "num_traces", "trace_size", "pressure", "shutdown", "unobserved")
"""Why a trace was decided before its time; the first is none."""


_living: WeakKeyDictionary[Meter, dict[str, WeakSet[Counters]]] = WeakKeyDictionary()
"""One partition has one sampler, and the gauges are sums over the partitions that are this process's now."""


class Counters:
    """The instruments of one sampler."""

    def __init__(self, context: BuildContext, traces: TraceTable, verdicts: VerdictTable, copies: Fingerprints) -> None:
        self._id = context.id
        self._tables = traces, verdicts, copies
        meter = context.meter
        self._traces = meter.counter("butterfly_sampling_traces_total")
        self._early = meter.counter("butterfly_sampling_early_decisions_total")
        spans = meter.counter("butterfly_sampling_spans_total")
        late = meter.counter("butterfly_sampling_late_spans_total")
        self._spans = spans.labels(self._id, "not_sampled"), spans.labels(self._id, "sampled")
        self._late = late.labels(self._id, "not_sampled"), late.labels(self._id, "sampled")
        self._copies = meter.counter("butterfly_sampling_duplicate_spans_total").labels(self._id)
        by_id = _living.setdefault(meter, {})
        if self._id not in by_id:
            by_id[self._id] = WeakSet()
            meter.watch("butterfly_sampling_open_traces", _sum(by_id[self._id], "open_traces"), processor=self._id)
            meter.watch("butterfly_sampling_table_bytes", _sum(by_id[self._id], "memory"), processor=self._id)
        by_id[self._id].add(self)

    @property
    def open_traces(self) -> int:
        """Traces observed and not decided."""
        return len(self._tables[0])

    @property
    def memory(self) -> int:
        """Bytes of all tables."""
        return sum(table.memory for table in self._tables)

    def decided(self, traces: Traces, verdict: Verdict, policies: PolicySet, early: str) -> None:
        """These traces got these verdicts; `early` is one of `CAUSES`."""
        for sampled, decision in ((True, "sampled"), (False, "not_sampled")):
            rows = verdict.sampled == sampled
            spans = int(traces.spans[rows].sum(dtype=np.int64))
            if spans:
                self._spans[sampled].inc(spans)
            counts = np.bincount(verdict.policy[rows])
            for number in np.flatnonzero(counts):
                self._traces.labels(self._id, policies.name(int(number)), decision).inc(int(counts[number]))
        if early:
            self._early.labels(self._id, early).inc(len(traces))

    def late(self, sampled: int, not_sampled: int) -> None:
        """Spans of traces that had been decided."""
        if sampled:
            self._late[True].inc(sampled)
        if not_sampled:
            self._late[False].inc(not_sampled)

    def copies(self, spans: int) -> None:
        """Byte-identical copies were dropped."""
        self._copies.inc(spans)


def _sum(members: WeakSet[Counters], name: str) -> Callable[[], float]:
    return lambda: float(sum(getattr(member, name) for member in members))
