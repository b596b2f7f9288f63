import numpy as np
from numpy.typing import NDArray

class Offenders:
    """The metrics and labels whose series are refused most, `most` of them."""

    def __init__(self, most: int) -> None: ...
    def __len__(self) -> int: ...
    def rows(self) -> list[tuple[bytes, bytes, int, int, NDArray[np.uint8]]]:
        """(metric, label or nothing, number of the action, points, registers of a HyperLogLog) of each: of a label's
        values, or of the metric's series."""
    @property
    def memory(self) -> int:
        """Bytes."""
