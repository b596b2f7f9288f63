import numpy as np
from numpy.typing import NDArray

from collector.wire.columns import Rows

class PointIndex(Rows):
    """Columns of one `ExportMetricsServiceRequest`, one row per data point in payload order. Arrays are read-only.

    Of a `Metric` whose data occurs more than once the last kind counts, and occurrences of it in a row are one, as in
    protobuf: points of a kind that lost have no rows. A field that is absent is 0. Keeps the payload alive.
    """

    time: NDArray[np.uint64]
    """time_unix_nano"""
    start: NDArray[np.uint64]
    """start_time_unix_nano"""
    offset: NDArray[np.uint32]
    """Where the body of the data point begins in the payload (after its tag and length)."""
    length: NDArray[np.uint32]
    """Bytes of that body."""
    flags: NDArray[np.uint32]
    exemplars: NDArray[np.uint32]
    """How many the point has."""
    kind: NDArray[np.uint8]
    """5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary: the number of the field in `Metric`."""
    temporality: NDArray[np.uint8]
    """0 unspecified or unknown, 1 delta, 2 cumulative; 0 for gauges and summaries."""
    monotonic: NDArray[np.bool_]
    """False for everything but sums."""
    metric: NDArray[np.uint32]
    """Ordinal of the `Metric` that holds the point, counted over the whole payload, with those that have no points."""
    resource: NDArray[np.uint32]
    """Ordinal of the `ResourceMetrics` that holds the point."""
    scope: NDArray[np.uint32]
    """Ordinal of the `ScopeMetrics` that holds the point, counted over the whole payload."""
    attributes: NDArray[np.uint64]
    """Hash of the point's attributes, whatever their order: the sum modulo 2**64 of `mmh3.hash64(each, signed=False)[0]`
    over the `KeyValue` messages as protobuf writes them (unknown fields left out; the order inside of a key-value list
    counts); 0 without attributes. Not seeded: who can choose attributes can make hashes meet.

    This column and `series` are computed when one of them is first asked for, with the GIL released; the others by the
    scan.
    """
    series: NDArray[np.uint64]
    """Hash of what makes a time series: `h(m, attributes)` where `m` is `h(resource attributes, scope name, scope
    version, scope attributes, metric name, unit, kind)`, `h` is `mmh3.hash64(..., signed=False)[0]` over such numbers as
    little-endian words of 64 bits, strings are hashed by `mmh3.hash64` themselves, and attributes as above."""
    metric_offset: NDArray[np.uint32]
    """One row per `Metric`, as the three below: where its body begins in the payload."""
    metric_length: NDArray[np.uint32]
    name_offset: NDArray[np.uint32]
    """Where its name begins in the payload."""
    name_length: NDArray[np.uint32]

def scan_metrics(payload: bytes) -> PointIndex:
    """Index bytes that `validate_metrics` has accepted before. Every read is bounds-checked all the same.

    Raises `Malformed`.
    """

def validate_metrics(payload: bytes, *, max_points: int = 0, max_depth: int = 32) -> PointIndex:
    """Index bytes from the network: accepts exactly what protobuf's parser accepts, all the way down, except that
    `AnyValue` may nest `max_depth` deep only.

    Raises `Malformed`; also when there are more than `max_points` data points, or more than that many `Metric` messages
    (0: no limit), before anything is allocated.
    """
