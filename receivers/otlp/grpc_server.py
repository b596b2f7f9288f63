"""OTLP over gRPC, on grpcio's asyncio server: raw bytes in, raw bytes out, no generated stub.

Everything about a request happens on the event loop, where the pipelines live too: a sender who waits for a commit
holds one suspended coroutine. The method is declared as client-streaming (on the wire that is the same as unary),
because then the handler reads the message itself, and can refuse a sender that never sends one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from receivers.otlp import status
from receivers.otlp.grpc_aio import Server
from receivers.otlp.grpc_waits import Arrivals, Waits
from receivers.otlp.listen import Endpoint, bind
from receivers.otlp.service import INTERNAL, LATE, RETRY_AFTER_NS
from receivers.otlp.transport import INLINE, Answer, Code, Kind, RefusedError, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from receivers.otlp.config import GrpcOptions, TlsOptions
    from receivers.otlp.transport import Door, Record

    Task = asyncio.Task[object]
    Context = grpc.aio.ServicerContext[bytes, bytes]

BUSY = Answer(Code.UNAVAILABLE, "overloaded", "too many requests at once; send again later", RETRY_AFTER_NS)
UNREAD = Answer(Code.INVALID_ARGUMENT, "unread", "no request message arrived")
SLOW = Answer(Code.UNAVAILABLE, "slow", "the request's message did not arrive in time", RETRY_AFTER_NS)
NOT_SERVED = Answer(Code.UNIMPLEMENTED, "not_served", "not served here; a signal is served when a pipeline takes it")

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS = "grpc-status-details-bin"
_SWEEP_SECONDS = 0.02
_PARTS_MIB = 32
"""Of messages that have not come whole, while the process grows."""
_EXPIRY_SECONDS = 0.25
_NO_LIMIT = 2**31 - 1


class GrpcTransport(Transport):
    """Serves `doors`, by full method name; whatever else is asked for is UNIMPLEMENTED, and counted by `unserved`."""

    name = "grpc"

    def __init__(
        self,
        options: GrpcOptions,
        doors: Mapping[str, Door],
        unserved: Record,
        ack_timeout: float,
        resident_bytes: Callable[[], int],
    ) -> None:
        self._options = options
        self._doors = doors
        self._unserved = unserved
        self._ack_timeout = ack_timeout
        self._resident_bytes = resident_bytes
        self._port = 0
        self._server: Server | None = None
        self._house: _House | None = None

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        options = self._options
        house = _House(options, self._ack_timeout, self._resident_bytes)
        methods = _Methods(self._doors, self._unserved, house)
        server = Server(house.loop, methods, self._doors, _server_options(options))
        credentials = _credentials(options.tls) if options.tls else None
        endpoint = Endpoint.parse(options.endpoint)
        for sock in await asyncio.to_thread(bind, endpoint):
            # The socket only proves that the address is free and ours; gRPC binds its own.
            address = _address(sock)
            self._port = sock.getsockname()[1]
            sock.close()
            if not server.listen(address, credentials):
                await server.start()  # one that was never started keeps the ports that it has
                await server.shutdown(None)
                raise OSError(f"can't listen on {endpoint.host}:{endpoint.port}: the port was taken")
        await server.start()
        house.open()
        self._server, self._house = server, house

    async def stop(self, grace: float) -> None:
        server, self._server = self._server, None
        house, self._house = self._house, None
        if server is None or house is None:
            return
        house.arrivals.close()
        # Whoever isn't answered shortly before the end is asked to send again; gRPC would say CANCELLED.
        expiry = house.loop.call_later(max(grace - _EXPIRY_SECONDS, 0), house.acks.close)
        await server.shutdown(grace)
        expiry.cancel()
        house.close()


class _House:
    """What all calls of a server share: how many there are, who waits, and threads for what is big."""

    def __init__(self, options: GrpcOptions, ack_timeout: float, resident_bytes: Callable[[], int]) -> None:
        self.loop = asyncio.get_running_loop()
        self.most = options.max_requests
        self.inside = 0
        self.arrivals = Arrivals[asyncio.Task[object]](
            options.read_timeout / 1e9,
            asyncio.Task.cancel,
            most=max(options.max_requests // 2, 1),
            few=max(_PARTS_MIB // options.max_recv_msg_size_mib, 2),
            resident_bytes=resident_bytes,
        )
        self.acks = Waits[asyncio.Future[Answer]](ack_timeout, partial(_settle, answer=LATE))
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="otlp-grpc")
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to look after those who wait."""
        now = time.perf_counter()
        self.arrivals.sweep(now)
        self.acks.sweep(now)
        self._timer = self.loop.call_later(_SWEEP_SECONDS, self.open)

    def close(self) -> None:
        """Everybody has gone."""
        if self._timer is not None:
            self._timer.cancel()
        self.threads.shutdown(wait=False, cancel_futures=True)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """Finds the handler of a call, and refuses what its headers suffice to refuse."""

    def __init__(self, doors: Mapping[str, Door], unserved: Record, house: _House) -> None:
        self._unserved = unserved
        self._house = house
        self._served = {
            name: (own, grpc.stream_unary_rpc_method_handler(_Call(own, house).serve)) for name, own in doors.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        served = self._served.get(handler_call_details.method)
        if served is None:
            return _refusal(self._unserved, NOT_SERVED)
        door, handler = served
        if self._house.inside >= self._house.most:
            return _refusal(door.record, BUSY)
        try:
            door.authorize(_authorization(handler_call_details))
        except RefusedError as refused:
            return _refusal(door.record, refused.answer)
        return handler


class _Call:
    """One method: a request message in, a response message out, or an abort."""

    def __init__(self, door: Door, house: _House) -> None:
        self._door = door
        self._house = house

    async def serve(self, _messages: object, context: Context) -> bytes:
        house = self._house
        began = time.perf_counter()
        house.inside += 1
        try:
            answer = await self._answer(context, began)
        except RefusedError as refused:
            answer = refused.answer
        except asyncio.CancelledError:
            # The sender has given up, or gone; what it sent stays handed over.
            self._door.record(GrpcTransport.name, LATE, time.perf_counter() - began)
            raise
        except Exception:  # noqa: BLE001 - grpcio would send the exception's text to the peer
            answer = INTERNAL
        finally:
            house.inside -= 1
        self._door.record(GrpcTransport.name, answer, time.perf_counter() - began)
        if answer.code is not Code.OK:
            await _abort(context, answer)
        return status.response(answer)

    async def _answer(self, context: Context, began: float) -> Answer:
        house, door = self._house, self._door
        payload = await self._read(context, began)
        if isinstance(payload, Answer):
            return payload
        permit = door.admit(len(payload))
        waiting: asyncio.Future[Answer] = house.loop.create_future()
        if len(payload) <= INLINE:
            door.export(payload, Kind.PROTOBUF, permit, partial(_settle, waiting))
        else:
            submitted = house.threads.submit(door.export, payload, Kind.PROTOBUF, permit, _from_a_thread(waiting))
            submitted.add_done_callback(lambda work: permit.release() if work.cancelled() else None)
        del payload  # the pipeline owns it now, and may let go of it before the answer comes
        house.acks.enter(waiting, time.perf_counter())
        try:
            return await waiting
        finally:
            house.acks.leave(waiting)

    async def _read(self, context: Context, began: float) -> bytes | Answer:
        arrivals = self._house.arrivals
        task: Task = asyncio.current_task()  # type: ignore[assignment]  # grpcio runs every handler in one
        arrivals.enter(task, began)
        try:
            message: object = await context.read()
        except asyncio.CancelledError:
            message = None
        if not arrivals.leave(task):
            return SLOW
        # gRPC has refused it as too large, or its sender went away: grpcio doesn't tell the two apart.
        return message if isinstance(message, bytes) else UNREAD


def _refusal(record: Record, answer: Answer) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
    record(GrpcTransport.name, answer, 0.0)

    async def refuse(_messages: object, context: Context) -> bytes:
        await _abort(context, answer)
        return b""

    return grpc.stream_unary_rpc_method_handler(refuse)


async def _abort(context: Context, answer: Answer) -> None:
    await context.abort(_CODES[answer.code], answer.message, ((_DETAILS, status.status(answer)),))


def _settle(waiting: asyncio.Future[Answer], answer: Answer) -> None:
    if not waiting.done():
        waiting.set_result(answer)


def _from_a_thread(waiting: asyncio.Future[Answer]) -> Callable[[Answer], None]:
    loop = waiting.get_loop()

    def answered(answer: Answer) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_settle, waiting, answer)

    return answered


def _authorization(details: grpc.HandlerCallDetails) -> str | bytes | None:
    for key, value in details.invocation_metadata:
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
        # Requests that arrive while the loop is busy stay with gRPC: `max_requests` refuses them in words, and counts
        # them, where gRPC would reset them from a thousand on. Connections and their streams bound how many there are.
        ("grpc.server.max_pending_requests", _NO_LIMIT),
        ("grpc.server.max_pending_requests_hard_limit", _NO_LIMIT),
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
