"""Ids that are functions of (seed, cycle, ordinal): fresh on every send, and never stored to be known again.

A cycle is one replay of the pre-built traffic. Within a cycle the mixing below is a bijection, so no two
traces and no two spans of it share an id; across cycles ids collide as rarely as random ones. All bits are
well mixed, since a consistent-probability sampler takes the last 7 bytes of a trace id for its randomness.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_TRACE_STREAM = 0xD1B54A32D192ED03
_SPAN_STREAM = 0x8CB92BA72F3D8DD7
_RECORD_STREAM = 0xA0761D6478BD642F

_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = np.uint64(30), np.uint64(27), np.uint64(31)
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(_GOLDEN)
_ONE = np.uint64(1)


def mix(words: Words) -> Words:
    """The finaliser of splitmix64, element by element: a bijection on 64-bit words."""
    words = (words ^ (words >> _THIRTY)) * _MIX_A
    words = (words ^ (words >> _TWENTY_SEVEN)) * _MIX_B
    return words ^ (words >> _THIRTY_ONE)


@lru_cache(maxsize=4096)
def _keys(seed: int, cycle: int) -> tuple[np.uint64, np.uint64, np.uint64]:
    start = np.array([(seed * _GOLDEN + 1) & _MASK], np.uint64)
    base = mix(mix(start) + np.array([(cycle + 1) * _GOLDEN & _MASK], np.uint64))
    return (
        mix(base ^ np.array([_TRACE_STREAM], np.uint64))[0],
        mix(base ^ np.array([_SPAN_STREAM], np.uint64))[0],
        mix(base ^ np.array([_RECORD_STREAM], np.uint64))[0],
    )


def trace_ids(seed: int, cycle: int, traces: Words) -> tuple[Words, Words]:
    """First and last 8 bytes (as big-endian integers) of the trace ids of the given trace ordinals; never
    zero."""
    key, _, _ = _keys(seed, cycle)
    high = mix(traces * _STEP + key)
    low = mix(high ^ key)
    return np.maximum(high, _ONE), np.maximum(low, _ONE)


def span_ids(seed: int, cycle: int, spans: Words) -> Words:
    """Span ids (as big-endian integers) of the given span ordinals; never zero."""
    _, key, _ = _keys(seed, cycle)
    return np.maximum(mix(spans * _STEP + key), _ONE)


def record_ids(seed: int, cycle: int, records: Words) -> Words:
    """Unique ids of the log records with these ordinals, as 64-bit words; never zero."""
    _, _, key = _keys(seed, cycle)
    return np.maximum(mix(records * _STEP + key), _ONE)


def looks_personal(text: str) -> bool:
    """Whether an id of 16 hex digits may pass for personal data, which the scrubber masks: one of digits alone for the
    number of a card, one of digits behind `be` for that of a bank account in Belgium. One in 2,000 at most."""
    return text.removeprefix("be").isdecimal()


def _hex_table() -> Words:
    text = np.frombuffer(b"".join(b"%04x" % value for value in range(65536)), ">u4")
    return text.astype(np.uint64)


_HEX = _hex_table()
_LOW_16 = np.uint64(0xFFFF)
_SHIFTS = tuple(np.uint64(bits) for bits in (48, 32, 16, 0))


def hexadecimal(words: Words) -> tuple[Words, Words]:
    """Each word as 16 lowercase hex digits: the first and the last 8 characters, as big-endian integers."""
    parts = [_HEX[(words >> shift) & _LOW_16] for shift in _SHIFTS]
    return (parts[0] << _SHIFTS[1]) | parts[1], (parts[2] << _SHIFTS[1]) | parts[3]
