"""How many different things a HyperLogLog has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def distinct(registers: NDArray[np.uint8]) -> int:
    """Estimate of Flajolet, Fusy, Gandouet and Meunier over 64-bit hashes: few are counted by the empty registers."""
    count = len(registers)
    estimate = 0.7213 / (1 + 1.079 / count) * count**2 / float(np.exp2(-registers.astype(np.float64)).sum())
    empty = count - int(np.count_nonzero(registers))
    if estimate <= 2.5 * count and empty:
        estimate = count * float(np.log(count / empty))
    return round(estimate)
