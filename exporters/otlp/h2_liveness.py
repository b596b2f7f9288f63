"""Whether a connection is alive: pings after silence, and an end to it when a ping brings nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from exporters.otlp.options import KeepaliveOptions

PROBE_S = 5.0
"""Seconds to wait after a ping that the options did not ask for."""


class Pinged(Protocol):
    """The connection, as far as its liveness is concerned."""

    @property
    def busy(self) -> bool:
        """Whether requests are under way."""

    def ping(self) -> None:
        """Send a PING frame."""

    def give_up(self, reason: str) -> None:
        """Abort."""


class Liveness:
    """The timers of one connection. Whatever arrives is a sign of life, not only the answer to a ping."""

    def __init__(self, connection: Pinged, options: KeepaliveOptions | None) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._time = None if options is None else options.time / 1e9
        self._timeout = PROBE_S if options is None else options.timeout / 1e9
        self._idle_too = options is not None and options.permit_without_stream
        self._asked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._verdict: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()
        """When something last arrived, in the loop's time."""
        self._rest()

    def hear(self) -> None:
        """Something arrived."""
        self.heard = self._loop.time()

    def probe(self) -> None:
        """Ping now, unless a ping is under way."""
        if self._verdict is not None:
            if self.heard < self._asked:
                return
            self._verdict.cancel()
        self._asked = self._loop.time()
        self._verdict = self._loop.call_later(self._timeout, self._judge)
        self._connection.ping()

    def stop(self) -> None:
        """End both timers."""
        for timer in (self._timer, self._verdict):
            if timer is not None:
                timer.cancel()
        self._timer = self._verdict = self._time = None

    def _rest(self) -> None:
        if self._time is not None:
            due = max(self.heard + self._time, self._loop.time() + self._time / 10)
            self._timer = self._loop.call_at(due, self._beat)

    def _beat(self) -> None:
        silent = self._time is not None and self._loop.time() - self.heard >= self._time
        if silent and (self._idle_too or self._connection.busy):
            self.probe()
        self._rest()

    def _judge(self) -> None:
        self._verdict = None
        if self.heard < self._asked:
            self._connection.give_up("the backend answers no ping (UNAVAILABLE)")
