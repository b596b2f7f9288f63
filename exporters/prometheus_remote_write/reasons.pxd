"""Why a data point is refused, as numbers. The order is that of the words in `reasons.py`."""

cdef enum Reason:
    TAKEN
    FUTURE
    INVALID_TIME
    INVALID_NAME
    MALFORMED_HISTOGRAM
    UNSUPPORTED_SCALE
    INVALID_DELTA
    TEMPORALITY
    STREAM_LIMIT
    CONFLICT
    TOO_LARGE
    LATE
