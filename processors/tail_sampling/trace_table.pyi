from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from processors.tail_sampling.verdict_table import VerdictTable

Taken = tuple[
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.uint32],
    NDArray[np.uint32],
    NDArray[np.int64],
]
"""Columns of traces that left the table, in order of first sight: trace id (hi, lo), matches of all spans, earliest start
that isn't 0, latest end, randomness R (56 bits), number of spans, bytes of their bodies (saturating), stream time of first
sight in nanoseconds (a multiple of 1000)."""

class OpenTrace(TypedDict):
    spans: int
    bytes: int
    position: int
    seen_ns: int
    matches: int
    start: int
    end: int

class TraceTable:
    """The traces that are observed and not decided: 56 bytes and a 4-byte slot each, in order of first sight.

    One owner, no locks. R is `rv` of the span that opened the trace, where `read_randomness` and its tracestate has one,
    else the last 7 bytes of the trace id. Stream time may not advance by more than an hour while a trace stays open.
    """

    late_sampled: int
    """Spans since `begin` whose trace had been sampled."""
    late_not_sampled: int
    memory: int
    """Bytes held."""
    boundary: int
    """Position of the record that opened the oldest open trace, or the position after the newest record."""

    def __init__(
        self,
        verdicts: VerdictTable,
        *,
        max_traces: int,
        max_spans: int = 0,
        max_size: int = 0,
        time_roots: bool = False,
        read_randomness: bool = False,
    ) -> None: ...
    def __len__(self) -> int: ...
    def begin(self, position: int, upto: int, now_ns: int) -> None:
        """What `feed` gives next are the records from `position` to before `upto`, appended by `now_ns`."""
    def feed(
        self,
        payload: bytes,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        parent: NDArray[np.uint64],
        start: NDArray[np.uint64],
        end: NDArray[np.uint64],
        offset: NDArray[np.uint32],
        length: NDArray[np.uint32],
        matches: NDArray[np.uint64],
        chosen: NDArray[np.uint8],
        row: int,
    ) -> int:
        """Add the spans of the rows from `row` on where `chosen`; return the first row that was not added.

        Fewer than all are added when a trace would be one too many: call `take_oversize`, make room, go on from there.
        Spans of traces with a verdict are counted as late and not added.
        """
    def moved_verdicts(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Ids of the late traces whose verdicts were made to last longer since `begin`."""
    def take_due(self, now_ns: int, wait_ns: int) -> Taken | None:
        """Traces first seen `wait_ns` before `now_ns` or earlier."""
    def take_rooted(self, now_ns: int, wait_ns: int) -> Taken | None:
        """Traces whose root was seen `wait_ns` before `now_ns` or earlier, in order of that; with `time_roots`."""
    def take_oversize(self) -> Taken | None:
        """Traces that reached `max_spans` or `max_size`. To be called after every `feed`, before any other take."""
    def take_oldest(self, count: int) -> Taken | None: ...
    def take_begun_before(self, position: int) -> Taken | None:
        """Traces opened by a record before `position`."""
    def find(self, hi: int, lo: int) -> OpenTrace | None: ...
