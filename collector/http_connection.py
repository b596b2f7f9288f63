"""One HTTP connection: aiohttp's, with the limits that it lacks and without its habit of telling what went
wrong.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from logging import Logger


class HttpConnections(web.Server):
    """Makes a `Connection` per peer, `most` at once; `refuse(status)` words the answer to what isn't HTTP.

    A peer has `header_timeout` seconds from the connection's beginning, and from each later request's first
    byte, until the headers are here. When there are more than `most`, the one that has waited longest for
    its first request makes room: silent peers can't keep others out.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        refuse: Callable[[int], web.Response],
        most: int,
        header_timeout: float,
        log: Logger,
        **limits: Any,
    ) -> None:
        super().__init__(self._begin)
        self._handler = handler
        self.refuse = refuse
        self.most = most
        self.header_timeout = header_timeout
        self.strangers: dict[Connection, None] = {}
        """Connections that have sent no whole headers yet, the oldest first."""
        self._log = log
        self._limits = limits

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), access_log=None, logger=self._log, **self._limits)

    async def _begin(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.disarm()  # a piece of the body may have come in before this task began
        return await self._handler(request)


class Connection(web.RequestHandler):
    """Closes itself when a request's headers take too long to arrive, or to make room."""

    __slots__ = ("_owner", "_timer")

    def __init__(self, owner: HttpConnections, **kwargs: Any) -> None:
        super().__init__(owner, **kwargs)
        self._owner = owner
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        owner = self._owner
        owner.strangers[self] = None
        self._arm()
        if len(owner.connections) > owner.most:
            oldest = next(iter(owner.strangers))
            oldest.disarm()
            oldest.force_close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None or self._request_in_progress:
            self.disarm()
        elif data and self._timer is None:
            self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.disarm()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # aiohttp would put the offending bytes into the log and the answer.
        del exc, message
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer was sent already")
        response = self._owner.refuse(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        self.logger.debug(*args, **kw)

    def disarm(self) -> None:
        """The headers are here, or nobody waits for them any longer."""
        self._owner.strangers.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._owner.header_timeout, self.force_close)
