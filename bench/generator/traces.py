"""Logical traces: trees of spans over nodes, with the faults that a sampler must not miss.

Times are nanoseconds relative to the moment at which the trace has ended, so they are negative. Everything
drawn comes from one seeded source: the same seed and options give the same traces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.generator.attributes import Attributes, failure, personal_attribute, span_attributes
from bench.generator.catalogue import FAULT_TYPES, ROOTS, SINGLES, SPANS, SpanName

if TYPE_CHECKING:
    from random import Random

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND
MAX_SPANS = 40
_LONGEST_ORDINARY = 3 * SECOND

ERROR, SLOW, BYZANTINE = 1, 2, 4
"""Why a trace must be kept, as bits."""

REASONS: dict[int, str] = {ERROR: "error", SLOW: "slow", BYZANTINE: "byzantine"}

_TRACESTATES = ("vendor=t61rcWkgMzE", "ot=th:0", "ot=th:0,vendor=00f067aa0ba902b7", "a=1,b=2")


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the traffic, 0 to 1. `slow_over` is the latency in seconds above which a request counts as
    slow."""

    errors: float = 0.03
    slow: float = 0.02
    byzantine: float = 0.01
    personal: float = 0.20
    events: float = 0.33
    out_of_order: float = 0.05
    late: float = 0.01
    very_late: float = 0.0
    slow_over: float = 5.0


@dataclass(slots=True)
class Event:
    name: str
    at: int
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """One span of the traffic. `ordinal`, `trace`, `parent` (an ordinal, -1 for none) and `link` (an
    ordinal of another trace's span, -1 for none) number spans and traces within a cycle; `flags` holds
    ERROR and BYZANTINE."""

    ordinal: int
    trace: int
    parent: int
    node: int
    entry: SpanName
    start: int
    end: int
    attributes: Attributes
    events: list[Event] = field(default_factory=list)
    flags: int = 0
    message: str = ""
    link: int = -1
    tracestate: str = ""


class TraceMaker:
    """Makes traces one by one and gives their spans ordinals, counted up."""

    def __init__(self, mix: Mix, random: Random) -> None:
        self._mix = mix
        self._random = random
        self._spans = 0
        self._traces = 0
        self._shape = 0
        self._previous_root = -1

    def make(self, capacity: list[int]) -> list[Span]:
        """The next trace. `capacity[node]` is how many more spans that node takes; it is counted down.

        At least one span must be left. Spans come parents first.
        """
        random, mix = self._random, self._mix
        left = sum(capacity)
        size = min(MAX_SPANS, left, 1 + int(random.expovariate(1 / 10)))
        slow = random.random() < mix.slow
        duration = min(int(random.lognormvariate(19.0, 0.9)), _LONGEST_ORDINARY)
        if slow:
            duration = int(mix.slow_over * SECOND * random.uniform(1.05, 1.8))
        elif mix.slow_over * SECOND <= duration:
            duration = int(mix.slow_over * SECOND * 0.5)
        spans = self._tree(size, duration, capacity)
        if random.random() < mix.errors:
            self._fail(spans)
        if random.random() < mix.byzantine:
            self._corrupt(spans)
        if random.random() < 0.05:
            state = random.choice(_TRACESTATES)
            for span in spans:
                span.tracestate = state
        if self._previous_root >= 0 and random.random() < 0.08:
            spans[0].link = self._previous_root
        self._previous_root = spans[0].ordinal
        self._traces += 1
        return spans

    def _tree(self, size: int, duration: int, capacity: list[int]) -> list[Span]:
        random = self._random
        nodes = random.choices(range(len(capacity)), weights=capacity, k=min(5, size))
        if size == 1:
            name = random.choice(SINGLES)
        else:
            name = random.choices([root for root, _ in ROOTS], weights=[share for _, share in ROOTS])[0]
        spans = [self._span(SPANS[name], -1, self._take(nodes, capacity), -duration, 0)]
        while len(spans) < size:
            above = random.choice([span for span in spans if span.entry.children])
            entry = SPANS[random.choice(above.entry.children)]
            room = above.end - above.start
            start = above.start + int(room * random.uniform(0.0, 0.6))
            end = start + max(1, int((above.end - start) * random.uniform(0.05, 0.95)))
            crosses = entry.kind in {2, 5} or random.random() < 0.2
            same = not crosses and capacity[above.node] > 0
            node = self._take([above.node] if same else nodes, capacity)
            spans.append(self._span(entry, above.ordinal, node, start, min(end, above.end)))
        return spans

    def _take(self, nodes: list[int], capacity: list[int]) -> int:
        free = [node for node in nodes if capacity[node]]
        node = self._random.choice(free) if free else max(range(len(capacity)), key=capacity.__getitem__)
        capacity[node] -= 1
        return node

    def _span(self, entry: SpanName, parent: int, node: int, start: int, end: int) -> Span:
        random, mix = self._random, self._mix
        attributes = span_attributes(entry.category, random.randrange(32), random)
        if random.random() < mix.personal:
            attributes |= personal_attribute(random)
        span = Span(self._spans, self._traces, parent, node, entry, start, end, attributes)
        self._spans += 1
        if random.random() < mix.events:
            at = start + (end - start) // 2
            span.events.append(Event("message", at, {"message.type": "SENT", "message.id": random.randrange(10**4)}))
        return span

    def _fail(self, spans: list[Span]) -> None:
        span = self._random.choice(spans)
        kind, message = failure(self._random)
        self._mark_error(span, message)
        span.attributes["error.type"] = kind
        span.events.append(Event("exception", span.end, {"exception.type": kind, "exception.message": message}))
        if self._random.random() < 0.5:
            self._mark_error(spans[0], "request failed")

    @staticmethod
    def _mark_error(span: Span, message: str) -> None:
        span.flags |= ERROR
        span.message = message
        if "http.response.status_code" in span.attributes:
            span.attributes["http.response.status_code"] = 500

    def _corrupt(self, spans: list[Span]) -> None:
        """Mark one span as a Byzantine fault, in each of the five shapes in turn."""
        random = self._random
        span = random.choice(spans)
        span.flags |= BYZANTINE
        shape = self._shape % 5
        self._shape += 1
        fault = FAULT_TYPES[self._shape % len(FAULT_TYPES)]
        if shape == 0:
            span.attributes["butterfly.byzantine.fault_type"] = fault
        elif shape == 1:
            span.attributes["butterfly.byzantine.detected"] = True
        elif shape == 2:
            span.events.append(
                Event("byzantine.fault_detected", span.end, {"butterfly.suspect": f"node-{span.node:03d}"})
            )
        elif shape == 3:
            span.events.append(Event("byzantine.verification_failed", span.end, {"butterfly.digest.match": False}))
        else:
            span.entry = SPANS["byzantine.verify"]
            span.attributes = span_attributes("byzantine", span.node, random)
            span.attributes["butterfly.verification.result"] = "failed"
            self._mark_error(span, "recomputed digest differs")
