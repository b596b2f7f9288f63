from collections.abc import Iterator, MutableMapping

import numpy as np
from numpy.typing import NDArray

from collector.wire.scan import SpanIndex

AttributeValue = str | bool | int | float | bytes | list["AttributeValue"] | dict[str, "AttributeValue"] | None

class Attributes(MutableMapping[str, AttributeValue]):
    """Attributes as a mapping; the last of repeated keys wins, as in most backends. Only the key asked for is decoded.

    Lists and dicts are copies: assign them back to change them. Setting raises `TypeError` and `ValueError` for what an
    attribute can't hold: other types, integers beyond 64 bits, surrogates, values nested more than 32 deep.
    """

    def __getitem__(self, key: str) -> AttributeValue: ...
    def __setitem__(self, key: str, value: AttributeValue) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

class SpanView:
    """One span, decoded field by field as it is asked for. Assignments are recorded; the payload stays as it is.

    Everything here raises `Malformed` where the payload isn't OTLP, which a receiver has excluded.
    """

    @property
    def row(self) -> int:
        """The span's row in the index."""
    @property
    def changed(self) -> bool:
        """Whether anything was assigned or deleted."""
    name: str
    status_code: int
    status_message: str
    kind: int
    trace_state: str
    @property
    def trace_id(self) -> bytes: ...
    @property
    def span_id(self) -> bytes: ...
    @property
    def parent_span_id(self) -> bytes: ...
    @property
    def start_time_unix_nano(self) -> int: ...
    @property
    def end_time_unix_nano(self) -> int: ...
    @property
    def attributes(self) -> Attributes: ...
    @property
    def resource(self) -> Attributes:
        """The resource's attributes, shared by all its spans and read-only."""
    @property
    def event_names(self) -> list[str]: ...
    def to_bytes(self) -> bytes:
        """The `Span` message with the recorded changes; fields that were not changed keep their very bytes."""

def views(payload: bytes, index: SpanIndex, mask: NDArray[np.bool_] | None = None) -> list[SpanView]:
    """A view of each row of `index`, in order; with `mask`, of the rows where it holds. They keep the payload alive.

    Raises `ValueError` when index or mask don't fit the payload.
    """
