"""What a Kafka record of a data topic holds, and what is let in of what others wrote there.

Value: one `Export*ServiceRequest` in protobuf, which the OpenTelemetry Collector calls `otlp_proto`. Headers name the
signal and the tenant; a record without them (the Collector's) is taken as the topic's signal, of no tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.batch import ANONYMOUS, Context, Signal
from collector.wire import Malformed, validate, validate_logs, validate_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from collector.wire import LogIndex, PointIndex, SpanIndex

SIGNAL = "butterfly-signal"
TENANT = "butterfly-tenant"

Headers = list[tuple[str, bytes]]

_VALIDATE: Mapping[Signal, Callable[[bytes], SpanIndex | PointIndex | LogIndex]] = {
    Signal.TRACES: validate,
    Signal.METRICS: validate_metrics,
    Signal.LOGS: validate_logs,
}


def headers(signal: Signal, context: Context) -> Headers:
    """The headers of a data record."""
    found = [(SIGNAL, signal.value.encode())]
    if context.tenant:
        found.append((TENANT, context.tenant.encode()))
    return found


class UnreadableError(Exception):
    """A record that isn't telemetry of its topic's signal. The message is one word, for a header and a metric."""


def context_of(given: Sequence[tuple[str, bytes | None]], signal: Signal) -> Context:
    """Who sent a record. Raises `UnreadableError` where it says that it is of another signal."""
    context = ANONYMOUS
    for name, value in given:
        if name == SIGNAL and value != signal.value.encode():
            raise UnreadableError("wrong_signal")
        if name == TENANT and value:
            try:
                context = Context(value.decode())
            except UnicodeDecodeError:
                raise UnreadableError("bad_tenant") from None
    return context


def count_items(payload: bytes, signal: Signal) -> int:
    """How many spans, data points or log records a payload from a topic holds. Raises `UnreadableError`.

    Everybody who may write to the topic can write anything: it is checked as strictly as what a receiver takes.
    """
    try:
        return _VALIDATE[signal](payload).count
    except Malformed:
        raise UnreadableError("malformed") from None


def admit(record: ConsumerRecord[bytes, bytes], signal: Signal) -> tuple[Context, int]:
    """Whose a record is and how many items it has. Raises `UnreadableError`."""
    if record.value is None:
        raise UnreadableError("empty")
    return context_of(record.headers, signal), count_items(record.value, signal)
