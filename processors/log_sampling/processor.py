"""Logs follow traces: a record leaves when its trace is kept, or when it is severe enough to matter by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mmh3
import numpy as np

from collector.api import DROPPED, UNDECIDED, Batch, BuildContext, Signal, VerdictFollower
from processors.log_sampling.options import LogSamplingOptions, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from collector.api import LogIndex

_RANGE = 2**32


class LogSampling(VerdictFollower):
    """See docs/components/log_sampling.md. What happens to a record depends on its own content and the verdict alone,
    so a record that passes twice meets the same fate, but for one whose trace was undecided the first time.
    """

    Config = LogSamplingOptions
    signals = frozenset({Signal.LOGS})

    def __init__(self, config: LogSamplingOptions, context: BuildContext) -> None:
        super().__init__(config, context, max_wait_ns=config.max_wait)
        self._limit = int(config.without_trace.sampling_percentage / 100 * _RANGE)

    @classmethod
    def pins(cls, config: LogSamplingOptions) -> str | None:
        """See `Component`."""
        return "pin_severity" if config.pin_severity < Severity.NEVER else None

    def traces_of(self, batch: Batch) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """See `VerdictFollower`."""
        index: LogIndex = batch.index
        traced = index.trace_hi | index.trace_lo != 0
        if traced.any():
            pins = traced & (index.severity >= self.config.pin_severity)
            if pins.any():
                self.board.pin(index.trace_hi[pins], index.trace_lo[pins])
        traced &= index.severity < self.config.keep_severity
        return index.trace_hi[traced], index.trace_lo[traced]

    def process(self, batch: Batch) -> Iterable[Batch]:
        """See `Processor`. What goes is booked as filtered with its reason."""
        index: LogIndex = batch.index
        mild = index.severity < self.config.keep_severity
        traced = index.trace_hi | index.trace_lo != 0
        verdicts = self.board.look_up(index.trace_hi, index.trace_lo)
        batch = batch.select(~(mild & traced & (verdicts == DROPPED)), "trace_dropped")
        if not self.config.undecided:
            batch = batch.select(~(mild & traced & (verdicts == UNDECIDED)), "trace_undecided")
        if self._limit < _RANGE:
            alone = mild & ~traced
            batch = batch.select(~alone | self._lucky(batch.payload, index, alone), "without_trace")
        return (batch,)

    def _lucky(self, payload: bytes, index: LogIndex, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the rows asked for are of the share that is kept."""
        lucky = np.zeros(index.count, np.bool_)
        for row in np.flatnonzero(asked).tolist():
            start = int(index.offset[row])
            lucky[row] = mmh3.hash(payload[start : start + int(index.length[row])], signed=False) < self._limit
        return lucky
