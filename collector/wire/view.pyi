import numpy as np
from numpy.typing import NDArray

from collector.wire.item_view import Attributes as Attributes
from collector.wire.item_view import AttributeValue as AttributeValue
from collector.wire.item_view import ItemView
from collector.wire.scan import SpanIndex

class SpanView(ItemView):
    """One span."""

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
    def event_names(self) -> list[str]: ...

def views(payload: bytes, index: SpanIndex, mask: NDArray[np.bool_] | None = None) -> list[SpanView]:
    """A view of each row of `index`, in order; with `mask`, of the rows where it holds. They keep the payload alive.

    Raises `ValueError` when index or mask don't fit the payload.
    """
