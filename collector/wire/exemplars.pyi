import numpy as np
from numpy.typing import NDArray

from collector.wire.columns import Rows
from collector.wire.points import PointIndex

class Exemplars(Rows):
    """Columns of the exemplars of one request's points, one row each, in payload order. Arrays are read-only."""

    point: NDArray[np.uint32]
    """Row of the point in its `PointIndex`."""
    offset: NDArray[np.uint32]
    """Where the field begins in the payload, its tag and length included."""
    length: NDArray[np.uint32]
    """Bytes of the field with its tag and length."""
    body_offset: NDArray[np.uint32]
    """Where the `Exemplar` message begins in the payload."""
    body_length: NDArray[np.uint32]
    trace_hi: NDArray[np.uint64]
    trace_lo: NDArray[np.uint64]
    """The trace id as in `SpanIndex`; 0 unless it is well-formed."""
    bucket: NDArray[np.int64]
    """Which bucket of the point the value is in: of a histogram the ordinal by its bounds, of an exponential histogram
    the power of two (by absolute value, sign apart); 0 elsewhere, and for NaN."""

def find_exemplars(payload: bytes, index: PointIndex) -> Exemplars:
    """The exemplars of the points of `index`, which `payload` was indexed to.

    Raises `Malformed`, and `ValueError` when the index isn't the payload's.
    """
