"""Unary gRPC over HTTP/2: the header fields and the framing of a request, and what an answer says.

gRPC over HTTP/2: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

import h2

from collector.api import Signal
from exporters.otlp.grpc_status import Code, code_of, refusal, refusal_of_http
from exporters.otlp.reply import MAX_REPLY, retry_info_ns

if TYPE_CHECKING:
    from exporters.otlp.h2_exchange import Answer
    from exporters.otlp.options import OtlpOptions

_METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_PREFIX = 5
_UNITS = (("n", 1), ("u", 10**3), ("m", 10**6), ("S", 10**9), ("M", 60 * 10**9), ("H", 3600 * 10**9))


def request_fields(options: OtlpOptions, signal: Signal) -> list[tuple[str, str]]:
    """Every header field of a request but `grpc-timeout`. The options' own come last, values of `-bin` in base64."""
    fields = {
        ":method": "POST",
        ":scheme": "https" if options.secure(signal) else "http",
        ":path": _METHODS[signal],
        ":authority": options.target(signal).authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": f"grpc-python-h2/{h2.__version__} (butterfly-collector)",
        "grpc-accept-encoding": "identity,gzip",
    }
    if options.compression == "gzip":
        fields["grpc-encoding"] = "gzip"
    for name, secret in options.headers.items():
        value = secret.get_secret_value()
        if name.lower().endswith("-bin"):
            value = base64.b64encode(value.encode()).decode().rstrip("=")
        fields[name.lower()] = value.strip()
    return list(fields.items())


def timeout_value(seconds: float) -> str:
    """`grpc-timeout` for this much time: at most eight digits and a unit, rounded down, never zero."""
    ns = max(1, int(seconds * 1e9))
    unit, size = next((each for each in _UNITS if ns // each[1] < 10**8), _UNITS[-1])
    return f"{min(ns // size, 10**8 - 1)}{unit}"


def prefix(message: bytes, *, compressed: bool) -> bytes:
    """What stands before a message on the wire: the flag of its compression and its length."""
    return bytes((compressed,)) + len(message).to_bytes(4, "big")


def reply_of(answer: Answer) -> bytes:
    """The message of an answer with status OK; empty when it can't be read, for the data was taken all the same.

    Raises the refusal that the status means. The status' text is the backend's and goes nowhere.
    """
    fields = answer.trailers if answer.trailers is not None else answer.headers
    status = fields.get(b"grpc-status")
    if status is None:
        http = answer.headers.get(b":status", b"")
        if http != b"200" or not answer.headers.get(b"content-type", b"").startswith(b"application/grpc"):
            raise refusal_of_http(http)
        raise refusal(Code.UNKNOWN)
    code = code_of(status)
    if code is not Code.OK:
        details = _binary(fields.get(b"grpc-status-details-bin", b""))
        raise refusal(code, retry_info_ns(details))
    return _message(answer.body, answer.headers.get(b"grpc-encoding", b"identity"))


def _message(body: bytes, encoding: bytes) -> bytes:
    message = body[_PREFIX : _PREFIX + int.from_bytes(body[1:_PREFIX], "big")]
    if body[:1] == b"\0":
        return message
    if encoding != b"gzip":
        return b""
    try:
        return zlib.decompressobj(31).decompress(message, MAX_REPLY)
    except zlib.error:
        return b""


def _binary(value: bytes) -> bytes:
    """A `-bin` field, padded or not; the first of several; empty when it is no base64."""
    first = value.partition(b",")[0]
    try:
        return base64.b64decode(first + b"=" * (-len(first) % 4), validate=True)
    except binascii.Error:
        return b""
