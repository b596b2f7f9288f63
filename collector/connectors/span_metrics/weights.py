"""How many spans a sampled one stands for, by the threshold in its tracestate (W3C `ot=th`)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from collector.connectors.span_metrics.columns import states

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from collector.wire import SpanIndex

_TH = re.compile(rb"(?:^|[,\s])ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?:[;,\s]|$)")
_WHOLE = 1 << 56


@lru_cache(4096)
def weight_of(state: bytes) -> float:
    """1 / (probability of having been kept); 1 where nothing is said of it."""
    found = _TH.search(state)
    if found is None:
        return 1.0
    threshold = int(found[1].ljust(14, b"0"), 16)
    return _WHOLE / (_WHOLE - threshold)


def weights(payload: bytes, index: SpanIndex) -> NDArray[np.float64]:
    """One weight a span."""
    at, size = states(payload, index)
    found = np.ones(index.count, np.float64)
    rows = np.flatnonzero(size)
    for row, start, length in zip(rows.tolist(), at[rows].tolist(), size[rows].tolist(), strict=True):
        found[row] = weight_of(payload[start : start + length])
    return found
