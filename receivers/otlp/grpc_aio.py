"""grpcio's asyncio server, made to survive the paths that its own loop can't decode.

Up to 1.85 that loop ends, and the server with it, at the first request whose path isn't UTF-8. It decodes only the
paths of methods that aren't registered; so here every request comes from a registered method, and whatever no method is
registered for comes under one name, its path never looked at.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # compiled, without types

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    import grpc

OTHER = "/other"
"""The method that a handler is asked for when the peer wants one that isn't served."""

# It writes out the headers and paths of peers that it can't decode, an `authorization` included.
logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL + 1)


class Server(cygrpc.AioServer):  # type: ignore[misc]  # cygrpc has no types
    """Serves `methods` through `handler`. For the running loop's thread alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: grpc.GenericRpcHandler,  # type: ignore[type-arg]  # not generic at run time
        methods: Iterable[str],
        options: Sequence[tuple[str, int]],
    ) -> None:
        super().__init__(loop, None, [handler], None, tuple(options), None)
        self._home = loop
        self._guarded = False
        # Known, but without handlers of their own, so that `handler` is asked each time.
        self.add_registered_method_handlers(dict.fromkeys((*methods, OTHER)))

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> bool:
        """Whether the address could be had."""
        where = address.encode()
        port = self.add_insecure_port(where) if credentials is None else self.add_secure_port(where, credentials)
        return bool(port)

    async def start(self) -> None:
        """Serve. Raises `OSError` with a grpcio that works in another way, which one request might end."""
        await super().start()
        if not self._guarded:
            await self.shutdown(None)
            raise OSError("this version of grpcio can't be served safely; install the locked one")

    def _make_request_call_future(self, method: bytes | None) -> Any:
        if method is None:
            self._guarded = True
            return self._home.create_future()  # what would be decoded never comes
        return super()._make_request_call_future(None if method == OTHER.encode() else method)
