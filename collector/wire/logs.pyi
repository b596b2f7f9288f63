import numpy as np
from numpy.typing import NDArray

from collector.wire.columns import Rows

class LogIndex(Rows):
    """Columns of one `ExportLogsServiceRequest`, one row per log record in payload order. Arrays are read-only.

    Ids are big-endian integers, and 0 unless they are of the right length. A field that is absent is 0.
    """

    time: NDArray[np.uint64]
    """time_unix_nano"""
    observed: NDArray[np.uint64]
    """observed_time_unix_nano"""
    trace_hi: NDArray[np.uint64]
    trace_lo: NDArray[np.uint64]
    span_id: NDArray[np.uint64]
    offset: NDArray[np.uint32]
    """Where the body of the `LogRecord` message begins in the payload (after its tag and length)."""
    length: NDArray[np.uint32]
    """Bytes of that body."""
    severity: NDArray[np.int32]
    """severity_number"""
    flags: NDArray[np.uint32]
    resource: NDArray[np.uint32]
    """Ordinal of the `ResourceLogs` that holds the record."""
    scope: NDArray[np.uint32]
    """Ordinal of the `ScopeLogs` that holds the record, counted over the whole payload."""
    defects: NDArray[np.uint8]
    """BAD_TRACE_ID | BAD_SPAN_ID: an id that is neither all zero nor of the right length. A log needs none."""

def scan_logs(payload: bytes) -> LogIndex:
    """Index bytes that `validate_logs` has accepted before. Every read is bounds-checked all the same.

    Raises `Malformed`.
    """

def validate_logs(payload: bytes, *, max_records: int = 0, max_depth: int = 32) -> LogIndex:
    """Index bytes from the network: accepts exactly what protobuf's parser accepts, all the way down, except that
    `AnyValue` may nest `max_depth` deep only.

    Raises `Malformed`; also when there are more than `max_records` (0: no limit), before anything is allocated.
    """
