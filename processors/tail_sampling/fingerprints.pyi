import numpy as np
from numpy.typing import NDArray

def fingerprint(data: bytes, seed: int) -> tuple[int, int]:
    """MurmurHash3 x64_128 with a 32-bit seed, as two 64-bit integers."""

class Fingerprints:
    """The span bodies seen since the last `rotate` but one, 16 bytes each, seeded per process.

    A generation that reaches `limit` is rotated at once, so at most twice that many are remembered.
    """

    memory: int
    """Bytes held."""

    def __init__(self, limit: int) -> None: ...
    def __len__(self) -> int: ...
    def rotate(self) -> None:
        """Forget the older generation and begin a new one."""
    def clear(self) -> None: ...
    def drop_seen(
        self, payload: bytes, offset: NDArray[np.uint32], length: NDArray[np.uint32], mask: NDArray[np.uint8]
    ) -> int:
        """Of the rows where `mask`, clear those whose bytes were seen before, remember the others; return how many."""
