import numpy as np
from numpy.typing import NDArray

class TraceTable:
    """A number from 1 to 255 for each of the newest `capacity // 2` traces or more, up to `capacity` of them.

    Ids are pairs of big-endian halves, as in `SpanIndex`; the all-zero id is never in. Memory is 34 to 68 bytes a trace
    of the capacity, taken in two parts as it fills. Columns are C-contiguous; `ValueError` where lengths differ.
    """

    memory: int
    """Bytes held."""

    def __init__(self, capacity: int) -> None: ...
    def __len__(self) -> int:
        """Entries; a trace that was put again after a while counts twice."""
    def put(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64], values: NDArray[np.uint8]) -> None:
        """Remember the number of each trace; an earlier one is replaced. Raises `MemoryError`."""
    def get(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64], values: NDArray[np.uint8]) -> None:
        """Fill `values` with the number of each trace, 0 where it isn't in."""
