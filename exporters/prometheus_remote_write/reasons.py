"""Why a data point is refused: the words that the dead letter and the metrics carry, by number.

The compiled modules know the first twelve by the same numbers, from `reasons.pxd`.
"""

from __future__ import annotations

REASONS = (
    "",
    "future",
    "invalid_time",
    "invalid_name",
    "malformed_histogram",
    "unsupported_scale",
    "invalid_delta",
    "temporality",
    "stream_limit",
    "conflict",
    "too_large",
    "late",
    "bad_request",
    "server_error",
    "not_written",
    "out_of_order",
    "duplicate",
    "request_too_large",
)

DETAILS = {
    "future": "its time lies further ahead than future_tolerance allows",
    "invalid_time": "it has no time",
    "invalid_name": "nothing of the metric's name can be used",
    "malformed_histogram": "its buckets, bounds and count don't fit together",
    "unsupported_scale": "its buckets fit no scale that native histograms have",
    "invalid_delta": "a delta that is no number would spoil the sum for ever",
    "temporality": "it is neither delta nor cumulative",
    "stream_limit": "delta_to_cumulative.max_streams are being summed already",
    "conflict": "the same request has another value for the series at the same time",
    "too_large": "the series of the request need too many labels",
    "late": "newer deltas of the series were summed already",
    "bad_request": "the backend refuses it",
    "server_error": "the backend fails on it again and again",
    "not_written": "the backend says OK and did not write it",
    "out_of_order": "the backend has newer samples of the series, or holds it for too old",
    "duplicate": "the backend has another value for the series at the same time",
    "request_too_large": "it is too large for the backend even alone",
}

BAD_REQUEST = REASONS.index("bad_request")
SERVER_ERROR = REASONS.index("server_error")
NOT_WRITTEN = REASONS.index("not_written")
OUT_OF_ORDER = REASONS.index("out_of_order")
DUPLICATE = REASONS.index("duplicate")
REQUEST_TOO_LARGE = REASONS.index("request_too_large")
