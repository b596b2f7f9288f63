from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from collector.wire.logs import LogIndex
from collector.wire.points import PointIndex
from collector.wire.scan import SpanIndex

UNKNOWN_THRESHOLD: int
"""In `thresholds`: kept with a probability that nobody knows, so an incoming `th` is erased."""

def select(payload: bytes, index: SpanIndex | PointIndex | LogIndex, mask: NDArray[np.bool_]) -> bytes:
    """The request with only the items (spans, data points, log records) where `mask` holds. Slices are copied; metrics,
    scopes and resources that are left without items disappear; everything else that they hold (schema URLs, unknown
    fields, repeated singular messages, data of a metric that doesn't count) stays.

    Here and below: `ValueError` when the arrays or the index don't fit the payload, `Malformed` when it isn't OTLP.
    """

def replace_spans(
    payload: bytes, index: SpanIndex, edits: Mapping[int, bytes], mask: NDArray[np.bool_] | None = None
) -> bytes:
    """The request with the `Span` body of each row in `edits` replaced; with `mask`, only the rows where it holds, as
    `select` does it."""

def replace_points(
    payload: bytes, index: PointIndex, edits: Mapping[int, bytes], mask: NDArray[np.bool_] | None = None
) -> bytes:
    """As `replace_spans`; each new body is a data point's, of the kind that the row has."""

def replace_logs(
    payload: bytes, index: LogIndex, edits: Mapping[int, bytes], mask: NDArray[np.bool_] | None = None
) -> bytes:
    """As `replace_spans`; each new body is a `LogRecord`'s."""

def sample(
    payload: bytes,
    index: SpanIndex,
    mask: NDArray[np.bool_],
    thresholds: NDArray[np.uint64],
    suffixes: Sequence[bytes] = (),
    suffix: NDArray[np.int16] | None = None,
) -> bytes:
    """`select`, and the sampling threshold of every kept span written to its tracestate (`ot=th:...`).

    `thresholds[row]` is the 56-bit rejection threshold T_d of the decision that kept the span, or `UNKNOWN_THRESHOLD`.
    By the W3C/OpenTelemetry rules: an incoming th as large as T_d or larger stays; else T_d is written (precision:
    trailing zero digits cut, `0` for 100%); UNKNOWN erases th; a th that isn't 1 to 14 hex digits counts as none; `rv`
    and other `ot` sub-keys are preserved, whatever they hold; other vendors' members stay in order, the 33rd pushed
    out; `ot` moves to the front when it is written, and its value never exceeds 256 characters (then it is left as it
    was); a tracestate that doesn't parse (W3C's grammar and limits, `ot` or `th` twice) is left as it was.

    `suffix[row] >= 0` appends `suffixes[suffix[row]]` (an encoded field of `Span`, such as one attribute) to the span.
    """
