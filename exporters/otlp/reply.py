"""What backends answer: partial success, the pause they ask for, decoded by hand and with bounds.

Replies come from the network. Nothing here raises on strange bytes: an answer that can't be read says
nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REPLY = 64 << 10
"""Bytes of a reply that are looked at. An `Export*ServiceResponse` has two small fields."""

_RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"
_LONGEST_NS = 24 * 3600 * 10**9
_SECONDS = re.compile(r"[0-9]{1,9}")


def rejected_items(reply: bytes) -> int:
    """`partial_success.rejected_*` of an `Export*ServiceResponse`; 0 when the whole request was taken.

    The field has the same numbers in the replies for traces, metrics and logs.
    """
    rejected = 0
    for number, value in _fields(reply[:MAX_REPLY]):
        if number == 1 and isinstance(value, bytes):
            for inner, count in _fields(value):
                if inner == 1 and isinstance(count, int):
                    rejected = count
    return rejected if 0 < rejected < 1 << 63 else 0


def retry_info_ns(status: bytes) -> int | None:
    """`RetryInfo.retry_delay` in nanoseconds, from a serialised `google.rpc.Status`; None without one."""
    for number, detail in _fields(status[:MAX_REPLY]):
        if number == 3 and isinstance(detail, bytes):
            any_ = dict(_fields(detail))
            info = any_.get(2, b"")
            if any_.get(1) == _RETRY_INFO and isinstance(info, bytes):
                return _duration_ns(info)
    return None


def retry_after_ns(header: str | None, now: datetime | None = None) -> int | None:
    """Nanoseconds of an HTTP `Retry-After`, which is seconds or a date; None when it is absent or neither."""
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        return min(int(text) * 10**9, _LONGEST_NS)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    wait = (until - (now or datetime.now(UTC))).total_seconds()
    return min(max(0, round(wait * 10**9)), _LONGEST_NS)


def _duration_ns(info: bytes) -> int:
    duration = dict(_fields(info)).get(1, b"")
    if not isinstance(duration, bytes):
        return 0
    parts = dict(_fields(duration))
    whole, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(whole, int) or not isinstance(nanos, int) or whole >= 1 << 63 or nanos >= 10**9:
        return 0
    return min(whole * 10**9 + nanos, _LONGEST_NS)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Varint and length-delimited fields of a protobuf message; ends quietly where the bytes make no
    sense.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        wire_type = tag & 7
        if at < 0:
            return
        if wire_type == 0:
            value, at = _varint(message, at)
            if at < 0:
                return
            yield tag >> 3, value
        elif wire_type == 2:
            length, at = _varint(message, at)
            if at < 0 or length > end - at:
                return
            yield tag >> 3, message[at : at + length]
            at += length
        elif wire_type in {1, 5}:
            at += 8 if wire_type == 1 else 4
        else:
            return


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The value and the position after it, which is -1 when the bytes end too early or go on for too long."""
    value = 0
    for shift, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return 0, -1
