from collections.abc import Callable, Sequence

from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.samples import SampleTable

class Translator:
    """Translates requests, one after the other in the order in which they are sent.

    `key`: 32 secret bytes that identify series from one life of the gateway to the next, together with the totals of
    `totals` (an `Accumulator`). `names(name, unit, kind)` gives the metric's name and unit for Prometheus, `render`
    the text of a KeyValue's value that is none of string, bool and int, `bound` the text of a bucket's upper bound.
    `external` are (name, value) of labels for every series. `target_name` is empty where there shall be no target_info.
    """

    def __init__(
        self,
        key: bytes,
        totals: Accumulator,
        *,
        names: Callable[[bytes, bytes, int], tuple[bytes, bytes]],
        render: Callable[[bytes], bytes],
        bound: Callable[[float], bytes],
        external: Sequence[tuple[bytes, bytes]] = (),
        resource_labels: bool = False,
        scope_labels: bool = True,
        utf8: bool = False,
        target_name: bytes = b"target_info",
        lanes: int = 1,
        tolerance_ns: int = 600_000_000_000,
    ) -> None: ...
    def translate(self, payload: bytes, now_ns: int) -> SampleTable:
        """The series and samples of one request; `now_ns` is our own clock. Raises `ValueError` where it isn't OTLP."""
