"""The time of pipelines that no durable log feeds."""

from time import monotonic_ns, time_ns

_BEGAN = time_ns() - monotonic_ns()


def now_ns() -> int:
    """Nanoseconds since the epoch by the machine's clock when the process began: later steps of it don't count."""
    return _BEGAN + monotonic_ns()
