"""What differs between the three services of OTLP. Everything else about them is one and the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from collector.api import Signal, validate, validate_logs, validate_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from collector.api import LogIndex, PointIndex, SpanIndex

    Index = SpanIndex | PointIndex | LogIndex
    Defects = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SignalRules:
    """The rules for one signal's `Export*ServiceRequest`."""

    signal: Signal
    method: str
    """The full name of the gRPC method."""
    items: str
    """What a person calls its items."""
    rejected: str
    """The JSON name of the count in `partial_success`."""
    check: Callable[[bytes, int], tuple[Index, Defects | None]]
    """Index a request of so many items at the most; and which rows have ids that can't be used, where there are ids.
    Raises `Malformed`.
    """
    refused: str = ""
    """What a sender is told of rows with defects that aren't taken."""
    kept: str = ""
    """What a sender is told of rows with defects that are taken all the same."""


def _traces(payload: bytes, most: int) -> tuple[Index, Defects | None]:
    index = validate(payload, max_spans=most)
    return index, index.defects


def _metrics(payload: bytes, most: int) -> tuple[Index, Defects | None]:
    return validate_metrics(payload, max_points=most), None


def _logs(payload: bytes, most: int) -> tuple[Index, Defects | None]:
    index = validate_logs(payload, max_records=most)
    return index, index.defects


TRACES = SignalRules(
    Signal.TRACES,
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "spans",
    "rejectedSpans",
    _traces,
    refused="spans whose trace id is not 16 bytes, or span id not 8 bytes, or all zero were refused",
)
METRICS = SignalRules(
    Signal.METRICS,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "data points",
    "rejectedDataPoints",
    _metrics,
)
LOGS = SignalRules(
    Signal.LOGS,
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "log records",
    "rejectedLogRecords",
    _logs,
    # The specification of LogRecord.trace_id: an invalid value means that the record belongs to no trace.
    kept="log records whose trace id is not 16 bytes, or span id not 8 bytes, were taken as belonging to none",
)
RULES = {rules.signal: rules for rules in (TRACES, METRICS, LOGS)}
