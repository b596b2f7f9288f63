"""The tail sampler: whole traces are judged, and no span is held."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from collector.api import (
    UNKNOWN_THRESHOLD,
    Batch,
    BuildContext,
    Decided,
    Lookahead,
    Malformed,
    Signal,
    Verdicts,
    sample,
    scan,
)
from processors.tail_sampling import checks, journal
from processors.tail_sampling.annotation import PolicyAnnotation
from processors.tail_sampling.counters import CAUSES, Counters
from processors.tail_sampling.decision import OTHER_POLICY, PolicySet, Thresholds, Verdict
from processors.tail_sampling.fingerprints import Fingerprints
from processors.tail_sampling.options import TailSamplingOptions
from processors.tail_sampling.recent import RecentVerdicts
from processors.tail_sampling.trace_table import TraceTable
from processors.tail_sampling.traces import Traces
from processors.tail_sampling.verdict_table import MAX_THRESHOLDS, NO_VERDICT, SAMPLED, VerdictTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from collector.api import SpanIndex
    from processors.tail_sampling.trace_table import Taken

_STATES = ("not_sampled", "sampled")

MAX_UNSETTLED = 2_000_000
"""Verdicts beyond the decision cache that may wait for the tail, some 60 MiB of them, before the head stops."""


class TailSampling(Lookahead):
    """See docs/components/tail_sampling.md.

    Stream time is what `observe` and `tick` are told; a tick must not run ahead of records still to be observed.
    """

    Config = TailSamplingOptions
    signals = frozenset({Signal.TRACES})

    @classmethod
    def problems(cls, config: TailSamplingOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return checks.problems(config)

    @classmethod
    def warnings(cls, config: TailSamplingOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return checks.warnings(config)

    def __init__(self, config: TailSamplingOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        self._policies = PolicySet(config)
        self._wait_ns = config.decision_wait
        root_wait_ns = config.decision_wait_after_root_received
        self._root_wait_ns = root_wait_ns if 0 < root_wait_ns < config.decision_wait else 0
        cache = config.decision_cache
        self.journal_entries = max(1, cache.sampled_cache_size + cache.non_sampled_cache_size)
        self._verdicts = VerdictTable(cache.sampled_cache_size, cache.non_sampled_cache_size)
        self._traces = self._new_table()
        self._thresholds = Thresholds(MAX_THRESHOLDS)
        self._copies = Fingerprints(config.duplicate_memory_spans)
        self._recent = RecentVerdicts(config.recent_verdicts)
        self._untaken: list[NDArray[Any]] = []
        self._annotation = None
        if config.record_policy:
            self._annotation = PolicyAnnotation([*self._policies.names, self._policies.name(OTHER_POLICY)])
        self._now_ns = 0
        self._next = 0
        self._restored_until = 0
        self._tail = 0
        # The tail forgets copies one decision_wait after the other, by the records' time: these are the positions where
        # a new period begins. The tail's own time won't do: after a pause it works through a long time at once.
        self._period: int | None = None
        self._periods: deque[int] = deque()
        self._counters = Counters(context, self._traces, self._verdicts, self._copies)

    def _new_table(self) -> TraceTable:
        return TraceTable(
            self._verdicts,
            max_traces=self.config.num_traces,
            max_spans=self.config.max_spans_per_trace,
            max_size=self.config.maximum_trace_size_bytes,
            time_roots=self._root_wait_ns > 0,
            read_randomness=self._policies.reads_randomness,
        )

    # -- the head

    def observe(self, batch: Batch, position: int, upto: int, now_ns: int) -> None:
        """See `Lookahead`."""
        self._now_ns = max(self._now_ns, now_ns)
        self._next = upto
        self._note_period(position, now_ns)
        self._traces.begin(position, upto, now_ns)
        try:
            index = scan(batch.payload, self._policies.probes)
        except Malformed:
            return  # no span of it can be read; at the tail it is an error, which sends it to the dead letter
        self._feed(self._traces, batch.payload, index, _rows(batch, index))
        late = self._traces.late_sampled, self._traces.late_not_sampled
        if any(late):
            self._counters.late(*late)
            self._keep_in_journal(*self._traces.moved_verdicts())

    def tick(self, now_ns: int) -> Iterable[Batch]:
        """Decide what is due. Nothing is held, so nothing is returned."""
        self._advance(now_ns)
        return ()

    def boundary(self) -> int:
        """See `Lookahead`."""
        return self._traces.boundary

    def has_room(self) -> bool:
        """See `Lookahead`: while a backend is away, verdicts that the tail still needs pile up.

        Reading again what they were restored for adds none, and nothing can be settled before that.
        """
        return self._next < self._restored_until or len(self._verdicts) < self.journal_entries + MAX_UNSETTLED

    def shed(self, position: int) -> None:
        """See `Lookahead`."""
        self._decide(self._traces.take_begun_before(position), "pressure")

    def decide_all(self) -> None:
        """See `Lookahead`."""
        self._decide(self._traces.take_oldest(len(self._traces)), "shutdown")

    def _advance(self, now_ns: int) -> None:
        self._now_ns = max(self._now_ns, now_ns)
        self._decide(self._traces.take_due(now_ns, self._wait_ns), "")
        if self._root_wait_ns:
            self._decide(self._traces.take_rooted(now_ns, self._root_wait_ns), "")

    def _feed(self, traces: TraceTable, payload: bytes, index: SpanIndex, chosen: NDArray[np.uint8]) -> None:
        row = 0
        while True:
            row = traces.feed(
                payload,
                index.trace_hi,
                index.trace_lo,
                index.parent_id,
                index.start,
                index.end,
                index.offset,
                index.length,
                index.matches,
                chosen,
                row,
            )
            oversize = traces.take_oversize()
            self._decide(oversize, "trace_size")
            if row >= index.count:
                return
            if oversize is not None:
                continue  # that made room
            oldest = traces.take_oldest(max(1, self.config.num_traces // 64))
            if oldest is None:
                raise MemoryError("there is no memory for one more trace")
            self._decide(oldest, "num_traces")

    def _decide(self, taken: Taken | None, early: str) -> None:
        if taken is None:
            return
        traces = Traces.of(taken, self._wait_ns, self._now_ns)
        verdict = self._policies.decide(traces)
        if self.context.board.has_pins:
            self._policies.keep_pinned(verdict, self.context.board.pinned(traces.hi, traces.lo))
        if early == "shutdown" and self.config.drop_pending_traces_on_shutdown:
            verdict = _nothing_sampled(len(traces))
        self._verdicts.add(
            traces.hi,
            traces.lo,
            verdict.sampled.view(np.uint8),
            verdict.policy,
            self._thresholds.numbers(verdict.threshold),
            self._next,
        )
        entries = np.zeros(len(traces), journal.ENTRY)
        entries["hi"], entries["lo"] = traces.hi, traces.lo
        entries["threshold"], entries["policy"] = verdict.threshold, verdict.policy
        entries["sampled"] = verdict.sampled
        self._untaken.append(entries)
        self._recent.add(traces, verdict, CAUSES.index(early))
        self._counters.decided(traces, verdict, self._policies, early)

    def _note_period(self, position: int, now_ns: int) -> None:
        period = now_ns // self._wait_ns
        if self._period is not None and period > self._period:
            # Two periods on, nothing that was seen before can still matter.
            self._periods.extend([position] * min(2, period - self._period))
        self._period = period if self._period is None else max(period, self._period)

    # -- the journal

    def take_verdicts(self) -> Verdicts | None:
        """See `Lookahead`."""
        if not self._untaken:
            return None
        entries = np.concatenate(self._untaken)
        self._untaken.clear()
        return Verdicts(journal.encode(entries, self._policies.version, self._next), len(entries))

    def restore(self, blob: bytes) -> None:
        """See `Lookahead`. Raises `journal.DamagedJournalError`.

        Verdicts of another configuration stay valid; only the names of their policies are lost.
        """
        entries, version, needed_until = journal.decode(blob)
        self._restored_until = max(self._restored_until, needed_until)
        policy = entries["policy"].astype(np.uint16)
        if version != self._policies.version:
            policy[:] = OTHER_POLICY
        self._verdicts.add(
            np.ascontiguousarray(entries["hi"]),
            np.ascontiguousarray(entries["lo"]),
            np.ascontiguousarray(entries["sampled"]),
            policy,
            self._thresholds.numbers(np.ascontiguousarray(entries["threshold"])),
            needed_until,
        )

    @classmethod
    def decided_in(cls, blob: bytes) -> Decided:
        """See `Lookahead`. Raises `journal.DamagedJournalError`."""
        entries, _, _ = journal.decode(blob)
        return Decided(entries["hi"], entries["lo"], entries["sampled"] != 0)

    def settled(self, position: int) -> None:
        """See `Lookahead`."""
        self._tail = position
        self._verdicts.settled(position)
        self._rotate_copies()

    def _rotate_copies(self) -> None:
        while self._periods and self._tail >= self._periods[0]:
            self._periods.popleft()
            self._copies.rotate()

    def _keep_in_journal(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> None:
        """Verdicts that late spans need for longer are written again, so that the journal keeps them longer, too."""
        if not len(hi):
            return
        state, policy, threshold, _ = self._look_up(hi, lo)
        entries = np.zeros(len(hi), journal.ENTRY)
        entries["hi"], entries["lo"] = hi, lo
        entries["threshold"], entries["policy"] = self._thresholds.values[threshold], policy
        entries["sampled"] = state == SAMPLED
        self._untaken.append(entries)

    # -- the tail

    def process(self, batch: Batch) -> Iterable[Batch]:
        """See `Lookahead`. What isn't sampled, or is a copy, is booked as filtered with its reason."""
        index = batch.index
        state, policy, threshold, missing = self._look_up(index.trace_hi, index.trace_lo)
        if missing:
            batch = batch.select(index.trace_hi | index.trace_lo != 0, "invalid_trace_id")
            if np.any(_rows(batch, index)[state == NO_VERDICT]):
                self._decide_unobserved(batch, state)
                state, policy, threshold, _ = self._look_up(index.trace_hi, index.trace_lo)
        if self._policies.drops:
            dropped = (state != SAMPLED) & np.isin(policy, self._policies.drops)
            batch = batch.select(~dropped, "dropped_by_policy")
        batch = batch.select(state == SAMPLED, "not_sampled")
        if not len(batch):
            return (batch,)
        kept = _rows(batch, index)
        if self.config.drop_duplicates:
            self._rotate_copies()
            copies = self._copies.drop_seen(batch.payload, index.offset, index.length, kept)
            if copies:
                self._counters.copies(copies)
                batch = batch.select(kept.view(np.bool_), "duplicate")
                if not len(batch):
                    return (batch,)
        try:
            return (self._write(batch, kept.view(np.bool_), policy, threshold),)
        except BaseException:
            self._copies.clear()  # the record will come again, and must not meet its own fingerprints
            raise

    def _look_up(
        self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int8], NDArray[np.int16], NDArray[np.uint8], int]:
        count = len(hi)
        state, policy = np.empty(count, np.int8), np.empty(count, np.int16)
        threshold = np.empty(count, np.uint8)
        missing = self._verdicts.lookup(hi, lo, state, policy, threshold)
        return state, policy, threshold, missing

    def _decide_unobserved(self, batch: Batch, state: NDArray[np.int8]) -> None:
        """Traces without a verdict, which only a damaged journal can bring about: decide on the record's own spans."""
        index = scan(batch.payload, self._policies.probes)
        chosen = _rows(batch, index)
        chosen[state != NO_VERDICT] = 0
        alone = self._new_table()
        alone.begin(self._next, self._next + 1, self._now_ns)
        self._feed(alone, batch.payload, index, chosen)
        self._decide(alone.take_oldest(len(alone)), "unobserved")

    def _write(
        self, batch: Batch, kept: NDArray[np.bool_], policy: NDArray[np.int16], threshold: NDArray[np.uint8]
    ) -> Batch:
        index, thresholds = batch.index, self._thresholds.values[threshold]
        if self._annotation is None:
            payload = sample(batch.payload, index, kept, thresholds)
        else:
            numbers = self._annotation.rows(index, kept, policy)
            payload = sample(batch.payload, index, kept, thresholds, self._annotation.suffixes, numbers)
        return batch.replace(payload, count=len(batch))

    # -- for people

    def explain(self, trace_id: bytes) -> dict[str, Any] | None:
        """`state` is open, sampled or not_sampled; the rest is what is still known: policy, early, spans, ..."""
        hi, lo = int.from_bytes(trace_id[:8], "big"), int.from_bytes(trace_id[8:16], "big")
        open_ = self._traces.find(hi, lo)
        if open_ is not None:
            due_ns = open_["seen_ns"] + self._wait_ns
            return {"state": "open", "spans": open_["spans"], "bytes": open_["bytes"], "due_ns": due_ns}
        verdict = self._verdicts.find(hi, lo)
        recent = self._recent.find(hi, lo)
        if verdict is None and recent is None:
            return None
        answer: dict[str, Any] = {}
        if verdict is not None:
            sampled, policy, threshold = verdict
            answer = {"state": _STATES[sampled], "policy": self._policies.name(policy)}
            value = int(self._thresholds.values[threshold])
            if sampled and value != UNKNOWN_THRESHOLD:
                answer["threshold"] = f"{value:014x}"
        if recent is not None:
            answer |= {"state": _STATES[recent["sampled"]], "policy": self._policies.name(recent["policy"])}
            answer |= {"early": CAUSES[recent["early"]] or None, "spans": recent["spans"], "bytes": recent["size"]}
            answer |= {"duration_ns": recent["duration"], "decided_ns": recent["time_ns"]}
        return answer


def _rows(batch: Batch, index: SpanIndex) -> NDArray[np.uint8]:
    """A writable column: 1 for each selected row."""
    if batch.mask is None:
        return np.ones(index.count, np.uint8)
    return cast("NDArray[np.uint8]", batch.mask.astype(np.uint8))


def _nothing_sampled(count: int) -> Verdict:
    return Verdict(np.zeros(count, np.bool_), np.zeros(count, np.uint16), np.full(count, UNKNOWN_THRESHOLD, np.uint64))
