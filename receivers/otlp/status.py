"""Answers as bytes: `Export*ServiceResponse` and `google.rpc.Status`, each in protobuf and in JSON.

A dozen bytes by hand, so that no protobuf object is made per request. The tests hold them to the generated
classes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receivers.otlp.transport import Answer

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value if value else b""


def response(answer: Answer) -> bytes:
    """`Export*ServiceResponse`, the same for every signal: empty on full success, else `partial_success` with the count
    and the message.
    """
    if not answer.rejected and not answer.message:
        return b""
    return _bytes(1, _number(1, answer.rejected) + _bytes(2, answer.message.encode()))


def response_json(answer: Answer, rejected: str) -> bytes:
    """The same as OTLP/JSON (64-bit integers are strings). `rejected` is the name of the count."""
    if not answer.rejected and not answer.message:
        return b"{}"
    partial: dict[str, str] = {}
    if answer.rejected:
        partial[rejected] = str(answer.rejected)
    if answer.message:
        partial["errorMessage"] = answer.message
    return json.dumps({"partialSuccess": partial}).encode()


def status(answer: Answer) -> bytes:
    """`google.rpc.Status`, with `RetryInfo` where the sender may come back."""
    details = b""
    if answer.retry_after_ns:
        seconds, nanos = divmod(answer.retry_after_ns, 10**9)
        info = _bytes(1, _number(1, seconds) + _number(2, nanos))
        details = _bytes(3, _bytes(1, _RETRY_INFO.encode()) + _bytes(2, info))
    return _number(1, answer.code) + _bytes(2, answer.message.encode()) + details


def status_json(answer: Answer) -> bytes:
    """The same in protobuf's JSON."""
    body: dict[str, object] = {"code": int(answer.code), "message": answer.message}
    if answer.retry_after_ns:
        seconds, nanos = divmod(answer.retry_after_ns, 10**9)
        delay = f"{seconds}.{nanos:09d}s" if nanos else f"{seconds}s"
        body["details"] = [{"@type": _RETRY_INFO, "retryDelay": delay}]
    return json.dumps(body).encode()
