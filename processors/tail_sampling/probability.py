"""Thresholds and hashes of probabilistic sampling."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = 14
_ALL = 1 << (4 * _DIGITS)


def rejection_threshold(percentage: float, precision: int = 4) -> int:
    """T of consistent probability sampling, 0 to 2**56: a trace is kept iff its randomness is at least T.

    Rounded to `precision` hex digits after the leading `f`s, which mean nothing but a small probability; more digits
    are taken where rounding would leave nothing (https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling).
    """
    exact = _ALL * (1 - Fraction(str(percentage)) / 100)
    text = f"{min(int(exact), _ALL - 1):014x}"
    digits = min(_DIGITS, precision + len(text) - len(text.lstrip("f")))
    for kept in range(digits, _DIGITS + 1):
        unit = 16 ** (_DIGITS - kept)
        rounded: int = round(exact / unit) * unit
        if rounded < _ALL or percentage == 0:
            return rounded
    return _ALL - 1


def hash_threshold(percentage: float) -> int:
    """The largest hash that the Collector's tail sampler keeps, as its 64-bit float arithmetic computes it."""
    product = Fraction(2**64 - 1) * Fraction(percentage / 100)
    shift = max(0, 64 - int(product).bit_length())
    rounded: int = round(product * 2**shift)
    return min(rounded >> shift, 2**64 - 1)


def fnv1a_64(salt: bytes, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """FNV-1a of `salt` and the 16 bytes of each trace id."""
    state = 0xCBF29CE484222325
    for byte in salt:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    hashes = np.full(len(hi), state, np.uint64)
    for half in (hi, lo):
        for shift in range(56, -8, -8):
            hashes ^= (half >> np.uint64(shift)) & np.uint64(0xFF)
            hashes *= np.uint64(0x100000001B3)
    return hashes
