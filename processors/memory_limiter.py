"""`memory_limiter`: guards the door, so that senders are asked to wait before memory runs out.

Options and their meaning follow the OpenTelemetry Collector's processor of the same name; `max_inflight` is
ours.
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from collector.api import Admitting, BuildContext, Duration, Options, Overloaded, Size, option, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collector.api import Batch

_RESUME = 0.95
"""Share of the soft limit below which requests are taken again: without the gap the door would flutter."""
_TRIM_INTERVAL_NS = seconds(10)
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class MemoryLimiterConfig(Options):
    """At least one of `limit_mib`, `limit_percentage` and `max_inflight`."""

    check_interval: Duration = option(seconds(1), about="Time between looks at the memory.", gt=0)
    limit_mib: int = option(0, about="Hard limit of resident memory in MiB; 0 is none.", ge=0)
    spike_limit_mib: int = option(
        0, about="Room kept for what is inside already, in MiB; 0 is a fifth of the limit.", ge=0
    )
    limit_percentage: int = option(
        0,
        about="Hard limit as a share of the machine's (or container's) memory; limit_mib wins.",
        ge=0,
        le=100,
    )
    spike_limit_percentage: int = option(0, about="The same room as a share; 0 is a fifth of the limit.", ge=0, le=100)
    max_inflight: Size | None = option(None, about="Wire bytes inside (admitted, not yet answered) at the most.", gt=0)


class MemoryLimiter(Admitting):
    """Refuses new requests while resident memory is over the soft limit (limit - spike), or the byte budget
    is spent.

    What is inside already goes on. Memory is sampled in `tick` alone, so `admit` costs two comparisons.
    """

    Config = MemoryLimiterConfig
    pure = True

    def __init__(self, config: MemoryLimiterConfig, context: BuildContext) -> None:
        super().__init__(config, context)
        self._soft: int | None = None
        self._over = False
        self._next_check = 0
        self._next_trim = 0
        self._retry_after = max(config.check_interval, seconds(1))
        refused = context.meter.counter("butterfly_memory_limiter_refused_total")
        self._refused_memory = refused.labels(context.id, "memory")
        self._refused_inflight = refused.labels(context.id, "inflight")

    @classmethod
    def problems(cls, config: MemoryLimiterConfig) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        if not (config.limit_mib or config.limit_percentage or config.max_inflight):
            found.append(((), "expected limit_mib, limit_percentage or max_inflight"))
        for limit, spike in (
            ("limit_mib", "spike_limit_mib"),
            ("limit_percentage", "spike_limit_percentage"),
        ):
            room = getattr(config, spike)
            if not room:
                continue
            if not getattr(config, limit):
                found.append(((spike,), f"expected {limit} beside it"))
            elif room >= getattr(config, limit):
                found.append(((spike,), f"expected less than {limit}, or nothing is ever taken"))
        return found

    @classmethod
    def warnings(cls, config: MemoryLimiterConfig) -> list[tuple[tuple[str | int, ...], str]]:
        if config.limit_mib and config.limit_percentage:
            return [(("limit_percentage",), "limit_mib wins; this has no effect")]
        return []

    def admit(self, size: int, inflight: int) -> None:
        if self._over:
            self._refused_memory.inc()
            raise Overloaded("memory is over its limit", self._retry_after)
        budget = self.config.max_inflight
        # A request that alone exceeds the budget still gets its turn when nothing else is inside.
        if budget is not None and inflight and inflight + size > budget:
            self._refused_inflight.inc()
            raise Overloaded("too many bytes are in flight")

    def tick(self, now_ns: int) -> Iterable[Batch]:
        if now_ns >= self._next_check:
            self._next_check = now_ns + self.config.check_interval
            self._check(now_ns)
        return ()

    def _check(self, now_ns: int) -> None:
        if self._soft is None:
            self._soft = soft_limit(self.config)
        if not self._soft:
            return
        resident = self.context.resident_bytes()
        if resident > self._soft and now_ns >= self._next_trim:
            # Freed memory that the allocator keeps would hold the door shut for ever.
            self._next_trim = now_ns + _TRIM_INTERVAL_NS
            _give_back()
            resident = self.context.resident_bytes()
        over = resident > (self._soft * _RESUME if self._over else self._soft)
        if over != self._over:
            self._over = over
            if over:
                self.context.log.warning("memory is over its soft limit: new requests are refused")
            else:
                self.context.log.info("memory is under its soft limit again: requests are taken")


def soft_limit(config: MemoryLimiterConfig) -> int:
    """Resident bytes over which new requests are refused; 0 where memory isn't limited."""
    if config.limit_mib:
        return (config.limit_mib << 20) - ((config.spike_limit_mib << 20) or (config.limit_mib << 20) // 5)
    share = config.limit_percentage - (config.spike_limit_percentage or config.limit_percentage / 5)
    return int(total_memory() * share / 100)


def total_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            text = Path(path).read_text("ascii").strip()
        except OSError:
            continue
        if text.isdecimal():  # "max" where there is none
            total = min(total, int(text))
    return total


def _give_back() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)
