"""The policy that kept a trace, written to one of its spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from collector.api import SpanIndex

_KEY = "butterfly.sampling.policy"


class PolicyAnnotation:
    """Ready-made attributes, one for each policy name. The last name stands for every number beyond."""

    def __init__(self, names: Sequence[str]) -> None:
        self.suffixes = [_string_attribute(_KEY, name) for name in names]

    def rows(self, index: SpanIndex, kept: NDArray[np.bool_], policy: NDArray[np.int16]) -> NDArray[np.int16]:
        """For each row the number of the attribute to append, or -1: one row of each kept trace gets its policy's."""
        chosen = first_rows(index, kept)
        numbers = np.full(index.count, -1, np.int16)
        numbers[chosen] = np.minimum(policy[chosen], len(self.suffixes) - 1)
        return numbers


def first_rows(index: SpanIndex, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Of each kept trace in the record, its first root, else its first span."""
    rows = np.flatnonzero(kept)
    order = rows[np.lexsort((rows, index.parent_id[rows] != 0, index.trace_lo[rows], index.trace_hi[rows]))]
    hi, lo = index.trace_hi[order], index.trace_lo[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    return order[first]


def _string_attribute(key: str, value: str) -> bytes:
    """A `Span.attributes` field with one string."""

    def field(tag: int, body: bytes) -> bytes:
        length, prefix = len(body), bytearray([tag])
        while length > 0x7F:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        prefix.append(length)
        return bytes(prefix) + body

    return field(0x4A, field(0x0A, key.encode()) + field(0x12, field(0x0A, value.encode())))
