"""OTLP over HTTP/1.1, on aiohttp's low-level server: protobuf and JSON, identity, gzip, zstd and deflate.

Small requests are checked on the event loop; what may take longer than a fraction of a millisecond goes to
two threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aiohttp import web

from collector.api import HttpConnections
from receivers.otlp import http_body, status
from receivers.otlp.cors import Cors
from receivers.otlp.decompress import ENCODINGS
from receivers.otlp.listen import Endpoint, bind
from receivers.otlp.service import INTERNAL, LATE
from receivers.otlp.transport import Answer, Code, Kind, RefusedError, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from logging import Logger

    from collector.api import Permit
    from receivers.otlp.config import HttpOptions, TlsOptions
    from receivers.otlp.transport import Door, Record

NOT_SERVED = Answer(
    Code.UNIMPLEMENTED, "not_served", "nothing is served at this path; a signal is served when a pipeline takes it"
)
WRONG_METHOD = Answer(Code.UNIMPLEMENTED, "wrong_method", "send with POST")
WRONG_TYPE = Answer(
    Code.INVALID_ARGUMENT, "unsupported", "expected content type application/x-protobuf or application/json"
)
WRONG_ENCODING = Answer(
    Code.INVALID_ARGUMENT, "unsupported", "expected content encoding identity, gzip, zstd or deflate"
)
BAD_HTTP = Answer(Code.INVALID_ARGUMENT, "bad_http", "this is not an HTTP/1.1 request that this server takes")

_STATUS_OF_OUTCOME = {"not_served": 404, "wrong_method": 405, "unsupported": 415, "too_large": 413}
_STATUS_OF_CODE = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}
_KINDS = {"application/x-protobuf": Kind.PROTOBUF, "application/json": Kind.JSON}
_TYPES = {kind: name for name, kind in _KINDS.items()}
_INLINE_PLAIN = 64 << 10
_INLINE_COMPRESSED = 8 << 10


class HttpTransport(Transport):
    """Serves `doors`, by path; whatever else is asked for is counted by `unserved`."""

    name = "http"

    def __init__(
        self, options: HttpOptions, doors: Mapping[str, Door], unserved: Record, ack_timeout: float, log: Logger
    ) -> None:
        self._options = options
        self._doors = doors
        self._unserved = unserved
        self._ack_timeout = ack_timeout
        self._log = log
        self._cors = Cors(options.cors) if options.cors else None
        self._read_timeout = options.read_timeout / 1e9
        self._port = 0
        self._waiting: set[asyncio.Future[Answer]] = set()
        self._reading: set[asyncio.Task[object]] = set()
        self._runner: web.ServerRunner | None = None
        self._listeners: list[asyncio.Server] = []
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="otlp-http")

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        options = self._options
        tls = _tls_context(options.tls) if options.tls else None
        sockets = await asyncio.to_thread(bind, Endpoint.parse(options.endpoint))
        self._port = sockets[0].getsockname()[1]
        server = HttpConnections(
            self._handle,
            refuse=self._refuse,
            most=options.max_connections,
            header_timeout=options.read_header_timeout / 1e9,
            log=self._log,
            keepalive_timeout=options.idle_timeout / 1e9,
            max_headers=64,
            lingering_time=1.0,
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        # Not aiohttp's sites: they leave a peer a minute for the TLS handshake, during which nobody counts it.
        patience = self._options.read_header_timeout / 1e9 if tls else None
        self._listeners = [
            await loop.create_server(server, sock=sock, ssl=tls, ssl_handshake_timeout=patience, backlog=128)
            for sock in sockets
        ]

    async def stop(self, grace: float) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        expiry = asyncio.get_running_loop().call_later(grace, self._expire)
        for listener in self._listeners:
            listener.close()
        # `cleanup` waits for requests in progress; `_expire` makes sure that they all end.
        await runner.cleanup()
        expiry.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _expire(self) -> None:
        for waiting in self._waiting:
            _settle(waiting, LATE)
        for reading in self._reading:
            reading.cancel()

    @contextlib.contextmanager
    def _while_reading(self) -> Iterator[None]:
        """Lets `_expire` cut off a sender that takes its time."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - aiohttp runs every handler in one
        self._reading.add(task)
        try:
            yield
        finally:
            self._reading.discard(task)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        began = time.perf_counter()
        kind = _KINDS.get(request.content_type)
        door = self._doors.get(request.path)
        try:
            if self._cors is not None and request.method == "OPTIONS":
                return web.Response(status=204, headers=self._headers(request, preflight=True))
            answer = NOT_SERVED if door is None else await self._answer(request, kind, door)
        except RefusedError as refused:
            answer = refused.answer
        except Exception:  # noqa: BLE001 - aiohttp would log the exception's text
            self._log.debug("a request failed", exc_info=True)
            answer = INTERNAL
        record = self._unserved if door is None else door.record
        record(self.name, answer, time.perf_counter() - began)
        response = self._response(answer, kind or Kind.JSON, door)
        response.headers.update(self._headers(request, preflight=False))
        return response

    async def _answer(self, request: web.BaseRequest, kind: Kind | None, door: Door) -> Answer:
        if request.method != "POST":
            return WRONG_METHOD
        door.authorize(request.headers.get("Authorization"))
        if kind is None:
            return WRONG_TYPE
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ENCODINGS and encoding != "identity":
            return WRONG_ENCODING
        limit = self._options.max_request_body_size
        length = request.content_length
        if length is not None and length > limit:
            return http_body.TOO_LARGE
        limit = limit if length is None else length
        granted = min(limit, http_body.FIRST_GRANT)  # bytes that are only announced take nobody's room
        permit = door.admit(granted)
        with self._while_reading():
            body = await http_body.read(request, door, permit, granted=granted, limit=limit, seconds=self._read_timeout)
        return await self._export(body, encoding, kind, door, permit)

    async def _export(self, body: bytes, encoding: str, kind: Kind, door: Door, permit: Permit) -> Answer:
        loop = asyncio.get_running_loop()
        home = threading.get_ident()
        waiting: asyncio.Future[Answer] = loop.create_future()

        def answered(answer: Answer) -> None:
            if threading.get_ident() == home:
                _settle(waiting, answer)
            else:
                with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                    loop.call_soon_threadsafe(_settle, waiting, answer)

        def work(body: http_body.Body, most: int) -> bool:
            try:
                plain = body.read(most)
            except RefusedError as refused:
                answered(refused.answer)
            except Exception:  # noqa: BLE001 - in a thread nobody else would answer
                answered(INTERNAL)
            else:
                if plain is None:
                    return False
                door.export(plain, kind, permit, answered)
            return True

        # A few compressed bytes can stand for many: here, on the event loop, only the first are looked at.
        limit = self._options.max_request_body_size
        small = len(body) <= (_INLINE_PLAIN if encoding == "identity" else _INLINE_COMPRESSED)
        parts = http_body.Body(encoding, body, door, permit, limit)
        del body  # the pipeline owns it now, and may let go of it before the answer comes
        if not (small and work(parts, _INLINE_PLAIN)):
            self._pool.submit(work, parts, limit)
        del parts
        if waiting.done():
            return waiting.result()
        self._waiting.add(waiting)
        late = loop.call_later(self._ack_timeout, _settle, waiting, LATE)
        try:
            return await waiting
        finally:
            late.cancel()
            self._waiting.discard(waiting)

    def _refuse(self, code: int) -> web.Response:
        answer = BAD_HTTP if code < 500 else INTERNAL
        self._unserved(self.name, answer, 0.0)
        return self._response(answer, Kind.JSON, None)

    def _response(self, answer: Answer, kind: Kind, door: Door | None) -> web.Response:
        code = _STATUS_OF_OUTCOME.get(answer.outcome) or _STATUS_OF_CODE[answer.code]
        protobuf = kind is Kind.PROTOBUF
        if answer.code is Code.OK and door is not None:
            body = status.response(answer) if protobuf else status.response_json(answer, door.rejected)
        else:
            body = status.status(answer) if protobuf else status.status_json(answer)
        headers = {"Content-Type": _TYPES[kind], "Server": "butterfly"}
        if answer.retry_after_ns:
            headers["Retry-After"] = str(-(-answer.retry_after_ns // 10**9))
        if code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        elif code == 405:
            headers["Allow"] = "POST"
        elif answer is WRONG_ENCODING:
            headers["Accept-Encoding"] = ", ".join(ENCODINGS)
        response = web.Response(status=code, body=body, headers=headers)
        if answer in (http_body.SLOW, http_body.TOO_LARGE, http_body.UNREAD):
            response.force_close()
        return response

    def _headers(self, request: web.BaseRequest, *, preflight: bool) -> dict[str, str]:
        if self._cors is None:
            return {}
        origin = request.headers.get("Origin")
        headers = self._cors.preflight(origin) if preflight else self._cors.headers(origin)
        return {"Server": "butterfly", **headers}


def _settle(waiting: asyncio.Future[Answer], answer: Answer) -> None:
    if not waiting.done():
        waiting.set_result(answer)


def _tls_context(tls: TlsOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.client_ca_file:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
