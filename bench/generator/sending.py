"""In which order the spans of a cycle are sent: what metrics and the truth need to know of the trace requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.generator.identity import span_ids, trace_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.generator.clock import Clock, Moment
    from bench.generator.identity import Words


@dataclass(frozen=True, slots=True)
class Sending:
    """Columns by span ordinal: `request_of` (the index of its trace request), `trace`, `end` (ns, relative to the
    trace's end), `amount` of time it took. `order`: the ordinals as they are sent. `sent_before[index]`: how many
    spans the first so many requests have. `position`: see `bench.generator.layout`."""

    seed: int
    request_of: NDArray[np.intp]
    order: list[int]
    sent_before: NDArray[np.int64]
    trace: Words
    end: NDArray[np.int64]
    position: NDArray[np.float64]

    def spans_sent(self, moment: Moment) -> int:
        """Spans that had been sent by then, since the run began."""
        return moment.cycle * int(self.sent_before[-1]) + int(self.sent_before[moment.index])

    def moment_after(self, spans: int) -> tuple[int, int]:
        """The cycle, and the index in it, that have been reached when so many spans have been sent."""
        cycle, left = divmod(spans, int(self.sent_before[-1]))
        return cycle, int(np.searchsorted(self.sent_before, left, side="right")) - 1

    def ids(self, cycle: int, spans: NDArray[np.intp]) -> tuple[Words, Words, Words]:
        """Trace id (two halves) and span id of the spans with these ordinals in that cycle."""
        high, low = trace_ids(self.seed, cycle, self.trace[spans])
        return high, low, span_ids(self.seed, cycle, spans.astype(np.uint64))

    def ended(self, cycle: int, spans: NDArray[np.intp], clock: Clock) -> NDArray[np.int64]:
        """When they ended, in nanoseconds since the epoch."""
        return clock.ends(cycle, self.position)[self.trace[spans].astype(np.intp)] + self.end[spans]
