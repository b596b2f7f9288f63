from typing import final

import numpy as np
from numpy.typing import NDArray

@final
class Entries:
    """The entries that one request became. Positions count them in the order of (labels, time, row)."""

    labels: list[bytes]
    """Of each stream that occurs, `{a="b", c="d"}` in UTF-8, in byte order."""
    refused: NDArray[np.uint8]
    """By row of the request: 0, or an `encoder.REFUSALS` number."""
    adjusted: tuple[int, ...]
    """How often each of `encoder.ADJUSTMENTS` happened."""

    def __len__(self) -> int: ...
    @property
    def rows(self) -> NDArray[np.uint32]:
        """By position: the log record's ordinal in the request."""
    @property
    def times(self) -> NDArray[np.uint64]:
        """By position: nanoseconds since 1970."""
    @property
    def sizes(self) -> NDArray[np.uint32]:
        """By position: bytes in a push request."""
    def push(self, positions: NDArray[np.uint32]) -> bytes:
        """`logproto.PushRequest` of the entries at ascending `positions`. Raises `IndexError` for one that isn't."""
