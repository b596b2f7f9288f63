import numpy as np
from numpy.typing import NDArray

from collector.wire.item_view import AttributeValue, ItemView
from collector.wire.logs import LogIndex

class LogView(ItemView):
    """One log record."""

    body: AttributeValue
    """None where there is none. Lists and dicts are copies, as in attributes: assign them back to change them."""
    severity_number: int
    severity_text: str
    @property
    def event_name(self) -> str: ...
    @property
    def time_unix_nano(self) -> int: ...
    @property
    def observed_time_unix_nano(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def trace_id(self) -> bytes:
        """As the record has it; `b""` where it has none."""
    @property
    def span_id(self) -> bytes: ...

def log_views(payload: bytes, index: LogIndex, mask: NDArray[np.bool_] | None = None) -> list[LogView]:
    """As `collector.wire.view.views`."""
