"""OTLP over gRPC, on grpcio's synchronous server: raw bytes in, raw bytes out, no generated stub.

A thread reads the message, has it checked and handed over, and sleeps until the data is safe. The method is
declared as client-streaming (on the wire that is the same as unary), because then the thread holds the RPC's
context while it waits for the message, and `Readers` can cut off a sender that never sends one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn

import grpc

from receivers.otlp import status
from receivers.otlp.grpc_readers import Readers
from receivers.otlp.listen import Endpoint, bind
from receivers.otlp.service import INTERNAL, LATE, RETRY_AFTER_NS
from receivers.otlp.transport import Answer, Code, Kind, RefusedError, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from receivers.otlp.config import GrpcOptions, TlsOptions
    from receivers.otlp.transport import Door

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

BUSY = Answer(Code.UNAVAILABLE, "overloaded", "too many requests at once; send again later", RETRY_AFTER_NS)
UNREAD = Answer(Code.INVALID_ARGUMENT, "unread", "no request message arrived")
SLOW = Answer(Code.UNAVAILABLE, "slow", "the request's message did not arrive in time", RETRY_AFTER_NS)
NOT_SERVED = Answer(Code.UNIMPLEMENTED, "not_served", "not served here")

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS = "grpc-status-details-bin"
_SWEEP_SECONDS = 0.05


class GrpcTransport(Transport):
    """Serves `doors`, by full method name; whatever else is asked for is UNIMPLEMENTED, and counted at
    `door`.
    """

    name = "grpc"

    def __init__(self, options: GrpcOptions, doors: Mapping[str, Door], door: Door, ack_timeout: float) -> None:
        self._options = options
        self._doors = doors
        self._door = door
        self._ack_timeout = ack_timeout
        self._readers = Readers(options.threads // 2, options.read_timeout / 1e9)
        self._port = 0
        self._server: grpc.Server | None = None
        self._pools: list[ThreadPoolExecutor] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        options = self._options
        pool = ThreadPoolExecutor(options.threads, thread_name_prefix="otlp-grpc")
        refusals = ThreadPoolExecutor(1, thread_name_prefix="otlp-grpc-busy")
        self._pools = [pool, refusals]
        calls = {name: _Call(door, self._readers, self._ack_timeout) for name, door in self._doors.items()}
        methods = _Methods(calls, self._door, options.max_requests, refusals)
        self._server = grpc.server(pool, handlers=[methods], options=_server_options(options))
        credentials = _credentials(options.tls) if options.tls else None
        endpoint = Endpoint.parse(options.endpoint)
        for sock in await asyncio.to_thread(bind, endpoint):
            # The socket only proves that the address is free and ours; gRPC binds its own.
            address = _address(sock)
            self._port = sock.getsockname()[1]
            sock.close()
            try:
                if credentials is None:
                    self._server.add_insecure_port(address)
                else:
                    self._server.add_secure_port(address, credentials)
            except RuntimeError:
                await self.stop(0)
                raise OSError(f"can't listen on {endpoint.host}:{endpoint.port}: the port was taken") from None
        self._server.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace: float) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._readers.close()
        stopped = server.stop(grace)
        await asyncio.to_thread(stopped.wait)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._readers.sweep(time.monotonic())


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """Finds the handler of a call, on gRPC's own thread; bounds the calls that are in the house."""

    def __init__(self, calls: Mapping[str, _Call], door: Door, max_requests: int, refusals: ThreadPoolExecutor) -> None:
        self._door = door
        self._max = max_requests
        self._inside = 0
        self._lock = threading.Lock()
        self._handlers = {name: _raw(self._counted(call)) for name, call in calls.items()}

        def refuse(_messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            door.record(GrpcTransport.name, BUSY, 0.0)
            _abort(context, BUSY)

        # grpcio runs a handler that has this attribute on that pool: refusals don't queue behind what they
        # refuse.
        refuse.experimental_thread_pool = refusals  # type: ignore[attr-defined]
        self._refuse = _raw(refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:  # type: ignore[type-arg]
        handler = self._handlers.get(handler_call_details.method)
        if handler is None:
            self._door.record(GrpcTransport.name, NOT_SERVED, 0.0)
            return None
        with self._lock:
            if self._inside >= self._max:
                return self._refuse
            self._inside += 1
        return handler

    def _counted(self, call: _Call) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
        def counted(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                return call(messages, context)
            finally:
                with self._lock:
                    self._inside -= 1

        return counted


class _Call:
    """One method: a request message in, a response message out, or an abort."""

    def __init__(self, door: Door, readers: Readers, ack_timeout: float) -> None:
        self._door = door
        self._readers = readers
        self._ack_timeout = ack_timeout

    def __call__(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        began = time.perf_counter()
        try:
            answer = self._answer(messages, context)
        except RefusedError as refused:
            answer = refused.answer
        except Exception:  # noqa: BLE001 - grpcio would send the exception's text to the peer
            answer = INTERNAL
        self._door.record(GrpcTransport.name, answer, time.perf_counter() - began)
        if answer.code is not Code.OK:
            _abort(context, answer)
        return status.response(answer)

    def _answer(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Answer:
        self._door.authorize(_authorization(context))
        reader = self._readers.enter(context)
        try:
            payload = next(messages, None)
        except grpc.RpcError:
            payload = None
        finally:
            was_cut = self._readers.leave(reader)
        if payload is None:
            # gRPC has refused it as too large, or its sender went away: grpcio doesn't tell the two apart.
            return SLOW if was_cut else UNREAD
        permit = self._door.admit(len(payload))
        answers: SimpleQueue[Answer] = SimpleQueue()
        self._door.export(payload, Kind.PROTOBUF, permit, answers.put)
        del payload  # the pipeline owns it now, and may let go of it before the answer comes
        try:
            return answers.get_nowait()
        except Empty:
            context.add_callback(lambda: answers.put(LATE))  # nobody listens any more: free the thread
        try:
            return answers.get(timeout=min(self._ack_timeout, context.time_remaining()))
        except Empty:
            return LATE


def _raw(behavior: Callable[[Iterator[bytes], grpc.ServicerContext], bytes]) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
    return grpc.stream_unary_rpc_method_handler(behavior)


def _abort(context: grpc.ServicerContext, answer: Answer) -> NoReturn:
    context.set_trailing_metadata(((_DETAILS, status.status(answer)),))
    context.abort(_CODES[answer.code], answer.message)


def _authorization(context: grpc.ServicerContext) -> str | bytes | None:
    for key, value in context.invocation_metadata():
        if key == "authorization":
            return value
    return None


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def _server_options(options: GrpcOptions) -> list[tuple[str, int]]:
    max_message = options.max_recv_msg_size_mib << 20
    ping = options.keepalive.enforcement_policy
    ours = options.keepalive.server_parameters
    result = [
        ("grpc.so_reuseport", 0),  # a port that is in use is an error, not a partner
        ("grpc.max_receive_message_length", max_message),
        ("grpc.max_concurrent_streams", options.max_concurrent_streams),
        ("grpc.max_metadata_size", options.max_metadata_size),
        ("grpc.absolute_max_metadata_size", options.max_metadata_size),
        ("grpc.http2.min_ping_interval_without_data_ms", ping.min_time // 10**6),
        ("grpc.keepalive_permit_without_calls", int(ping.permit_without_stream)),
    ]
    for name, duration in (
        ("grpc.max_connection_idle_ms", ours.max_connection_idle),
        ("grpc.max_connection_age_ms", ours.max_connection_age),
        ("grpc.max_connection_age_grace_ms", ours.max_connection_age_grace),
        ("grpc.keepalive_time_ms", ours.time),
        ("grpc.keepalive_timeout_ms", ours.timeout),
    ):
        if duration:
            result.append((name, max(1, duration // 10**6)))
    return result


def _credentials(tls: TlsOptions) -> grpc.ServerCredentials:
    ca = Path(tls.client_ca_file).read_bytes() if tls.client_ca_file else None
    pair = (Path(tls.key_file).read_bytes(), Path(tls.cert_file).read_bytes())
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)
