"""What the receiver counts, whichever listener and signal it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

    from collector.api import BuildContext
    from receivers.otlp.transport import Answer

NO_SIGNAL = "none"
"""The label of requests for what isn't served."""


class Counts:
    """Counters of one receiver. Thread-safe."""

    def __init__(self, context: BuildContext) -> None:
        self._receiver = context.id
        self._requests = context.meter.counter("butterfly_receiver_requests_total")
        self._rejected = context.meter.counter("butterfly_receiver_rejected_items_total")
        self._seconds = context.meter.histogram("butterfly_receiver_ack_seconds")
        self._counted: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}  # finding a child costs more

    def record(self, signal: str, transport: str, answer: Answer, seconds: float) -> None:
        """Count an answer that was given `seconds` after its request began."""
        key = (signal, transport, answer.outcome)
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = (
                self._requests.labels(self._receiver, *key),
                self._seconds.labels(self._receiver, signal, transport),
            )
        counted[0].inc()
        counted[1].observe(seconds)
        if answer.bad_ids:
            self._rejected.labels(self._receiver, signal, "bad_id").inc(answer.bad_ids)
        if answer.undeliverable:
            self._rejected.labels(self._receiver, signal, "undeliverable").inc(answer.undeliverable)
