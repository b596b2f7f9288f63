from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.wire.item_view import ItemView
from collector.wire.points import PointIndex

class Exemplar(NamedTuple):
    trace_id: bytes
    span_id: bytes
    value: float | int | None
    time_unix_nano: int

class PointView(ItemView):
    """One data point, with what its metric says of all its points. Only attributes can be changed."""

    @property
    def name(self) -> str:
        """The metric's name, as `unit` and `description`."""
    @property
    def unit(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def kind(self) -> Literal["gauge", "sum", "histogram", "exponential_histogram", "summary"]: ...
    @property
    def temporality(self) -> Literal["unspecified", "delta", "cumulative"]:
        """`unspecified` for gauges and summaries."""
    @property
    def monotonic(self) -> bool:
        """False for everything but sums."""
    @property
    def start_time_unix_nano(self) -> int: ...
    @property
    def time_unix_nano(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def value(self) -> float | int | None:
        """Of a gauge or a sum; None for other kinds, and where there is none."""
    @property
    def count(self) -> int | None:
        """Of a histogram or a summary; None for other kinds."""
    @property
    def sum(self) -> float | None:
        """Of a histogram that has one, or a summary; None for others."""
    @property
    def min(self) -> float | None:
        """Of a histogram that has one; None for others."""
    @property
    def max(self) -> float | None: ...
    @property
    def exemplars(self) -> list[Exemplar]:
        """In their order; a copy."""

def point_views(payload: bytes, index: PointIndex, mask: NDArray[np.bool_] | None = None) -> list[PointView]:
    """As `collector.wire.view.views`."""
