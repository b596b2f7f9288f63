"""How requests leave: raw bytes over gRPC or HTTP, one connection a sender, each attempt answered once."""

from __future__ import annotations

import gzip
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import grpc

from bench.generator.serialise import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.generator.signals import Signal

METHODS: dict[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}

_RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_RETRYABLE_HTTP = {429, 502, 503, 504}

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # ours are counted
    ("grpc.use_local_subchannel_pool", 1),  # else all senders share one connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

Verdict = Literal["ok", "retry", "refused"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt came to. `retry_after`: seconds the server asked for. `explicit`: the server itself
    said no, so it doesn't have the data; a broken connection or a passed deadline says nothing of the
    kind. `rejected`: items that a partial success turned down."""

    verdict: Verdict
    status: str = "OK"
    retry_after: float | None = None
    explicit: bool = True
    rejected: int = 0


def _as_is(message: bytes) -> bytes:
    return message


class Transport(Protocol):
    """One sender's connection. `done` is called exactly once per `send`, on any thread."""

    def send(self, payload: bytes, done: Callable[[Answer], None], signal: Signal = "traces") -> None: ...

    def close(self) -> None: ...


def rejected_items(response: bytes) -> int:
    """`partial_success.rejected_spans` (`_data_points`, `_log_records`) of an `Export*ServiceResponse`."""
    for number, begin, end in fields(response, 0, len(response)):
        if number == 1:
            return next((_number(response, at) for field, at, _ in fields(response, begin, end) if field == 1), 0)
    return 0


def retry_delay(status: bytes) -> float | None:
    """Seconds of the `RetryInfo` in a serialised `google.rpc.Status`; None when there is none or it can't
    be read."""
    try:
        for number, begin, end in fields(status, 0, len(status)):
            if number == 3:
                detail = {field: status[at:stop] for field, at, stop in fields(status, begin, end)}
                if detail.get(1, b"").endswith(b"/google.rpc.RetryInfo"):
                    info = detail.get(2, b"")
                    delay = next((info[at:stop] for field, at, stop in fields(info, 0, len(info)) if field == 1), b"")
                    parts = {field: _number(delay, at) for field, at, _ in fields(delay, 0, len(delay))}
                    return parts.get(1, 0) + parts.get(2, 0) / 1e9
    except IndexError:
        pass
    return None


def _number(data: bytes, at: int) -> int:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value
        at, shift = at + 1, shift + 7


class GrpcTransport:
    """OTLP/gRPC with a channel, hence a connection, of its own."""

    def __init__(self, endpoint: str, *, timeout: float, compress: bool) -> None:
        self._channel = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        self._calls = {name: self._channel.unary_unary(method, _as_is, _as_is) for name, method in METHODS.items()}
        self._timeout = timeout
        self._compression = grpc.Compression.Gzip if compress else None

    def send(self, payload: bytes, done: Callable[[Answer], None], signal: Signal = "traces") -> None:
        future = self._calls[signal].future(payload, timeout=self._timeout, compression=self._compression)
        future.add_done_callback(lambda call: done(_grpc_answer(call)))

    def close(self) -> None:
        self._channel.close()


def _grpc_answer(call: Any) -> Answer:  # grpc-stubs give the future of a call no code() and no metadata
    code = call.code()
    if code is grpc.StatusCode.OK:
        return Answer("ok", rejected=rejected_items(call.result()))
    details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    delay = retry_delay(details)
    if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay is not None):
        return Answer("retry", code.name, delay, explicit=delay is not None)
    return Answer("refused", code.name)


class HttpTransport:
    """OTLP/HTTP with protobuf; one keep-alive connection per request in flight."""

    def __init__(self, endpoint: str, *, timeout: float, compress: bool, in_flight: int) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._compress = compress
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="otlp-http")

    def send(self, payload: bytes, done: Callable[[Answer], None], signal: Signal = "traces") -> None:
        self._threads.submit(lambda: done(self._post(payload, f"/v1/{signal}")))

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _post(self, payload: bytes, path: str) -> Answer:
        headers = {"content-type": "application/x-protobuf"}
        if self._compress:
            payload = gzip.compress(payload, 1)
            headers["content-encoding"] = "gzip"
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._endpoint, timeout=self._timeout)
            self._local.connection = connection
            self._connections.append(connection)
        try:
            connection.request("POST", path, payload, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer("retry", type(error).__name__, explicit=False)
        if response.status == 200:
            return Answer("ok", rejected=rejected_items(body))
        if response.status in _RETRYABLE_HTTP:
            after = response.headers.get("retry-after", "")
            return Answer("retry", str(response.status), float(after) if after.isdigit() else None)
        return Answer("refused", str(response.status))


def connect(
    protocol: Literal["grpc", "http"],
    endpoint: str | None,
    senders: int,
    *,
    timeout: float = 10.0,
    compress: bool = False,
    in_flight: int = 4,
) -> list[Transport]:
    """A transport for each sender. `endpoint`: `host:port`, by default OTLP's own port on localhost."""
    if protocol == "grpc":
        target = endpoint or "localhost:4317"
        return [GrpcTransport(target, timeout=timeout, compress=compress) for _ in range(senders)]
    target = endpoint or "localhost:4318"
    return [HttpTransport(target, timeout=timeout, compress=compress, in_flight=in_flight) for _ in range(senders)]
