"""The pre-built traffic: OTLP requests as bytes, with the offsets of everything that changes on each send.

One *cycle* is every request once, in order. Between cycles only ids and times differ, so a request is
encoded by overwriting fixed-width fields in place: a few array assignments instead of a protobuf
serialisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from bench.generator.catalogue import SPANS
from bench.generator.identity import hexadecimal, span_ids, trace_ids
from bench.generator.layout import arrange
from bench.generator.logs import LogTraffic
from bench.generator.metrics import MetricTraffic
from bench.generator.sending import Sending
from bench.generator.serialise import BIAS, Offsets, locate, serialise
from bench.generator.traces import Mix, Span, TraceMaker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.generator.identity import Words
    from bench.generator.log_records import LogShape
    from bench.generator.metric_shape import MetricShape

DEFAULT_SPANS = 16_000
SPAN_NAMES = tuple(SPANS)
_NAME_NUMBERS = {name: number for number, name in enumerate(SPAN_NAMES)}


@dataclass(frozen=True, slots=True)
class Shape:
    """All that the traffic depends on: equal shapes give equal bytes.

    `batch`: spans in each request. `spans`: spans in one cycle, rounded up so that every sender has whole
    requests. `logs`, `metrics`: None for none; the traces are the same with and without.
    """

    seed: int = 1
    senders: int = 8
    batch: int = 100
    spans: int = DEFAULT_SPANS
    mix: Mix = field(default_factory=Mix)
    logs: LogShape | None = None
    metrics: MetricShape | None = None


class Request:
    """One request of the cycle: its bytes, and what of them is rewritten when it is sent.

    `late`: held back by the runner until after the sampler's wait. `rows` are the ordinals of its spans in
    the order in which they stand in the payload.
    """

    def __init__(
        self,
        seed: int,
        sender: int,
        *,
        rows: list[int],
        payload: bytes,
        offsets: Offsets,
        late: bool,
        span_trace: Words,
    ) -> None:
        self.sender = sender
        self.late = late
        self.rows: Words = np.array(rows, np.uint64)
        self._seed = seed
        self._bytes = np.frombuffer(payload, np.uint8).copy()
        size = len(payload) - 7
        self._big: Words = np.ndarray((size,), ">u8", self._bytes, strides=(1,))
        self._little: NDArray[np.int64] = np.ndarray((size,), "<i8", self._bytes, strides=(1,))
        owners = span_trace[offsets.trace_owner]
        self._traces, local = np.unique(owners, return_inverse=True)
        self._trace_at, self._trace_row = offsets.trace_at, local
        self._request_at = offsets.request_at
        self._request_row = np.searchsorted(self._traces, span_trace[offsets.request_owner])
        self._span_at, self._span_of = offsets.span_at, offsets.span_of.astype(np.uint64)
        self._time_at = offsets.time_at
        self._time_row = np.searchsorted(self._traces, span_trace[offsets.time_owner])
        self._times = self._little[self._time_at] - BIAS

    def __len__(self) -> int:
        """Spans in the request."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self._bytes)

    def encode(self, cycle: int, ends: NDArray[np.int64]) -> bytes:
        """The request of that cycle. `ends[trace]` is when the trace ends, in nanoseconds since the epoch."""
        high, low = trace_ids(self._seed, cycle, self._traces)
        big = self._big
        big[self._trace_at] = high[self._trace_row]
        big[self._trace_at + 8] = low[self._trace_row]
        big[self._span_at] = span_ids(self._seed, cycle, self._span_of)
        first, last = hexadecimal(low)
        big[self._request_at] = first[self._request_row]
        big[self._request_at + 8] = last[self._request_row]
        self._little[self._time_at] = self._times + ends[self._traces][self._time_row]
        return self._bytes.tobytes()


class Traffic:
    """All requests of one cycle, in sending order, and the columns that the ground truth is worked out from.

    Per span, by ordinal: `trace`, `flags` (ERROR, BYZANTINE), `start`, `end` (ns, relative to the trace's
    end), `late` (held back by the runner), `node`, `name` (its place in `SPAN_NAMES`), `request_of` (index of its
    request). `position[trace]`: where in the cycle the trace ends, 0 to 1. `lead`: so many spans before its trace ends
    by that, a span may be sent. `logs`, `metrics`: None when the shape has none.
    """

    def __init__(self, shape: Shape) -> None:
        if min(shape.senders, shape.batch, shape.spans) < 1:
            raise ValueError("senders, batch and spans must be at least 1")
        random = Random(shape.seed)
        per_sender = -(-shape.spans // (shape.senders * shape.batch)) * shape.batch
        capacity = [per_sender] * shape.senders
        maker = TraceMaker(shape.mix, random)
        spans: list[Span] = []
        while any(capacity):
            spans.extend(maker.make(capacity))
        plan = arrange(spans, shape.senders, shape.batch, shape.mix, random)
        self.shape = shape
        self.trace: Words = np.array([span.trace for span in spans], np.uint64)
        self.flags = np.array([span.flags for span in spans], np.uint8)
        self.start = np.array([span.start for span in spans], np.int64)
        self.end = np.array([span.end for span in spans], np.int64)
        self.late = np.zeros(len(spans), np.bool_)
        self.node = np.array([span.node for span in spans], np.uint16)
        self.name = np.array([_NAME_NUMBERS[span.entry.name] for span in spans], np.uint16)
        self.request_of = np.zeros(len(spans), np.intp)
        self.traces = spans[-1].trace + 1
        self.position = plan.position
        self.requests: list[Request] = []
        for sender, members, late in plan.requests:
            payload, rows = serialise(sender, shape.seed, [spans[ordinal] for ordinal in members])
            offsets = locate(payload, rows, spans)
            self.requests.append(
                Request(
                    shape.seed,
                    sender,
                    rows=rows,
                    payload=payload,
                    offsets=offsets,
                    late=late,
                    span_trace=self.trace,
                )
            )
            self.request_of[rows] = len(self.requests) - 1
            if late:
                self.late[rows] = True
        self.sending = Sending(
            seed=shape.seed,
            request_of=self.request_of,
            order=[int(row) for request in self.requests for row in request.rows],
            sent_before=np.cumsum([0, *(len(request) for request in self.requests)]),
            trace=self.trace,
            end=self.end,
            position=self.position,
        )
        ends = [int(self.position[self._last_trace(request)] * len(spans)) for request in self.requests]
        self.lead = int(max(0, (np.array(ends) - self.sending.sent_before[:-1]).max()))
        self.logs = LogTraffic(shape.logs, shape.mix, spans, self.sending) if shape.logs else None
        self.metrics = MetricTraffic(shape.metrics, shape.senders, spans, self.sending) if shape.metrics else None

    def _last_trace(self, request: Request) -> int:
        return int(self.trace[request.rows.astype(np.intp)].max())

    @property
    def spans(self) -> int:
        """Spans in one cycle."""
        return len(self.trace)

    def ends(self, started_ns: int, lasts_ns: int) -> NDArray[np.int64]:
        """When each trace of a cycle ends, for a cycle that starts then and lasts so long."""
        return started_ns + (self.position * lasts_ns).astype(np.int64)

    def ids(self, cycle: int, rows: Words) -> tuple[Words, Words, Words]:
        """Trace id (first and last half) and span id of the given spans in that cycle, as big-endian
        integers."""
        seed = self.shape.seed
        high, low = trace_ids(seed, cycle, self.trace[rows.astype(np.intp)])
        return high, low, span_ids(seed, cycle, rows)
