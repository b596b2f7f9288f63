"""What a Kafka record of a data topic holds, and what is let in of what others wrote there.

Value: one `Export*ServiceRequest` in protobuf, which the OpenTelemetry Collector calls `otlp_proto`. Headers name the
signal and the tenant; a record without them (the Collector's) is taken as the topic's signal, of no tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.batch import ANONYMOUS, Context, Signal
from collector.wire import Malformed, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

SIGNAL = "butterfly-signal"
TENANT = "butterfly-tenant"

Headers = list[tuple[str, bytes]]


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
    """How many spans, metrics or log records a payload from a topic holds. Raises `UnreadableError`.

    Everybody who may write to the topic can write anything: it is checked as strictly as what a receiver takes.
    """
    try:
        if signal is Signal.TRACES:
            return validate(payload).count
        if signal is Signal.METRICS:
            metrics = ExportMetricsServiceRequest.FromString(payload)
            return sum(len(scope.metrics) for each in metrics.resource_metrics for scope in each.scope_metrics)
        logs = ExportLogsServiceRequest.FromString(payload)
        return sum(len(scope.log_records) for each in logs.resource_logs for scope in each.scope_logs)
    except (Malformed, DecodeError):
        raise UnreadableError("malformed") from None


def admit(record: ConsumerRecord[bytes, bytes], signal: Signal) -> tuple[Context, int]:
    """Whose a record is and how many items it has. Raises `UnreadableError`."""
    if record.value is None:
        raise UnreadableError("empty")
    return context_of(record.headers, signal), count_items(record.value, signal)
