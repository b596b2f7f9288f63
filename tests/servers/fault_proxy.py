"""An HTTP proxy on a port of its own before a backend, which can be told to answer in the backend's place."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.servers.process import free_ports

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}


@dataclass(frozen=True)
class Answer:
    """What the proxy says itself. `after`: seconds that it takes its time first."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0


Fault = Callable[[str, bytes], Answer | None]
"""From the path and the body as it came (compressed, most likely) to an answer; None lets the backend answer."""


class FaultProxy:
    """Passes every request on to `port` of 127.0.0.1 but where `fault` answers. Use as a context manager.

    `statuses` counts what its clients were told, `received` the bytes of the bodies that came. A backend that is down
    is 502.
    """

    def __init__(self, port: int) -> None:
        self.fault: Fault | None = None
        self.statuses: Counter[int] = Counter()
        self.received = 0
        (self.port,) = free_ports(1)
        self._target = port
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_POST(self) -> None:
                proxy.serve(self)

            do_GET = do_POST  # noqa: N815 - the base class has these names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def refusing(self, status: int, body: bytes = b"", **headers: str) -> Iterator[None]:
        """Answer everything so for a while."""
        answer = Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        self.fault = lambda _path, _body: answer
        try:
            yield
        finally:
            self.fault = None

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        fault = self.fault
        answer = fault(handler.path, body) if fault else None
        if answer is None:
            answer = self._pass_on(handler, body)
        elif answer.after:
            time.sleep(answer.after)
        with self._lock:
            self.statuses[answer.status] += 1
            self.received += len(body)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.status != 204:
            handler.send_header("content-length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> Answer:
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=60)
        try:
            connection.request(handler.command, handler.path, body, headers)
            reply = connection.getresponse()
            kept = {name: value for name, value in reply.getheaders() if name.lower() not in _HOP_BY_HOP}
            return Answer(reply.status, reply.read(), kept)
        except (OSError, http.client.HTTPException):
            return Answer(502)
        finally:
            connection.close()
