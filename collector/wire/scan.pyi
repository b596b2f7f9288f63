from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collector.wire.columns import Rows
from collector.wire.malformed import MAX_PAYLOAD as MAX_PAYLOAD
from collector.wire.malformed import Malformed as Malformed

Where = Literal["resource", "span", "event"]

class SpanIndex(Rows):
    """Columns of one `ExportTraceServiceRequest`, one row per span in payload order. Arrays are read-only.

    Ids are big-endian integers (`trace_hi` is the first 8 bytes of the trace id). A field that is absent is 0.
    """

    trace_hi: NDArray[np.uint64]
    trace_lo: NDArray[np.uint64]
    span_id: NDArray[np.uint64]
    parent_id: NDArray[np.uint64]
    start: NDArray[np.uint64]
    """start_time_unix_nano"""
    end: NDArray[np.uint64]
    offset: NDArray[np.uint32]
    """Where the body of the `Span` message begins in the payload (after its tag and length)."""
    length: NDArray[np.uint32]
    """Bytes of that body."""
    resource: NDArray[np.uint32]
    """Ordinal of the `ResourceSpans` that holds the span."""
    scope: NDArray[np.uint32]
    """Ordinal of the `ScopeSpans` that holds the span, counted over the whole payload."""
    kind: NDArray[np.int32]
    status: NDArray[np.int32]
    """status.code"""
    flags: NDArray[np.uint32]
    defects: NDArray[np.uint8]
    """BAD_TRACE_ID (length is not 16, or all zero) | BAD_SPAN_ID (length is not 8, or all zero); ids are 0 there."""
    matches: NDArray[np.uint64]
    """Bit i: condition i of the `Probes` holds for this span; zeros without probes."""

BAD_TRACE_ID: int
BAD_SPAN_ID: int

class Probes:
    """Up to 64 conditions on a span, evaluated during the scan; each method adds one and returns its bit number (0-63).

    A condition on an attribute looks at all places named in `where`; keys may repeat; any occurrence may match.
    Raises `ValueError` when there are more than 64.
    """

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def status(self, code: int) -> int: ...
    def flags(self, mask: int) -> int:
        """`span.flags & mask != 0`"""
    def name(self, values: Sequence[str] = (), *, prefixes: Sequence[str] = (), suffixes: Sequence[str] = ()) -> int:
        """The span's name equals one of `values`, starts with one of `prefixes` or ends with one of `suffixes`."""
    def event_name(self, values: Sequence[str] = (), *, prefixes: Sequence[str] = ()) -> int:
        """Some event of the span has such a name."""
    def trace_state(self, key: str, values: Sequence[str]) -> int:
        """The W3C tracestate's member `key` has one of `values`."""
    def attribute_exists(self, key: str, *, where: Sequence[Where] = ("span", "resource")) -> int: ...
    def attribute_string(
        self, key: str, values: Sequence[str], *, where: Sequence[Where] = ("span", "resource")
    ) -> int:
        """A string attribute equals one of `values`."""
    def attribute_pattern(
        self,
        key: str,
        matches: Callable[[str], bool],
        *,
        cache_size: int = 128,
        where: Sequence[Where] = ("span", "resource"),
    ) -> int:
        """`matches(value)` for a string attribute; its answers are cached for the last `cache_size` distinct values."""
    def attribute_number(
        self,
        key: str,
        minimum: float | None,
        maximum: float | None,
        *,
        where: Sequence[Where] = ("span", "resource"),
    ) -> int:
        """An int or double attribute lies within the bounds, inclusive. Ints compare exactly over all 64 bits."""
    def attribute_bool(self, key: str, value: bool, *, where: Sequence[Where] = ("span", "resource")) -> int: ...
    def all_of(self, bits: Sequence[int]) -> int:
        """Conditions that hold on one and the same span (bits of this object, added before)."""

def scan(payload: bytes, probes: Probes | None = None) -> SpanIndex:
    """Index bytes that `validate` has accepted before. Every read is bounds-checked all the same.

    What it doesn't need to look into (attributes without probes, links, ...) it skips by length.
    Raises `Malformed`.
    """

def validate(payload: bytes, *, max_spans: int = 0, max_depth: int = 32) -> SpanIndex:
    """Index bytes from the network: accepts exactly what protobuf's parser accepts, all the way down (UTF-8 of every
    string field, nested values, unknown fields and groups), except that `AnyValue` may nest `max_depth` deep only.

    Raises `Malformed`; also when there are more than `max_spans` spans (0: no limit), before anything is allocated.
    """
