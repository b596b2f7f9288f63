from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Texts = tuple[NDArray[np.uint32], NDArray[np.uint32]]

class Interner:
    """Small numbers, in order of first sight, for distinct keys: tuples of texts and integers. At most `limit` of them.

    Keys are compared whole, so no two are ever mixed up; the hash that finds them has a secret seed.
    """

    def __init__(self, limit: int) -> None: ...
    def __len__(self) -> int: ...
    def number(self, payload: bytes, texts: Sequence[Texts], integers: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        """The number of each row's key, made of the texts at (offset, length) in `payload` and of the integers; -1 for a
        new key beyond the limit, and for one of over 4 KiB, as whoever sends a key has it kept. Every column has one
        value a row. Raises `ValueError` where columns don't fit.
        """
    def key(self, number: int) -> bytes:
        """A key as it was made: for each text its length (u32, little-endian) and bytes, then each integer (i32)."""
    def put(self, key: bytes) -> int:
        """The number of a key in that form, which is new unless it is known; -1 beyond the limit."""
