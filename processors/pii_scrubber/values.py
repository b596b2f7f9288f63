"""Values that need more than the walk knows: addresses of every form, numbers, tracestates."""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PORT = re.compile(r"(?::\d{1,5})?")
_BRACKETED = re.compile(r"\[([^\]]*)\](?::\d{1,5})?")
_OT = re.compile(rb"ot=(?:(?:th|rv):[0-9a-f]{1,14};?){1,2}")
"""What consistent sampling writes: a threshold and 14 hex digits of randomness, which could pass for a number."""
_DOUBLE = 0x21
_BOOL = 0x10
_MOST_ADDRESSES = 64
_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = 0, 1, 2, 3, 4, 5
_FIRST_TAG = 8
_LONGEST_VARINT = 10
_DEEPEST = 8
_MOST_FIELDS = 1000
_SHORTEST = 5
"""Bytes of the shortest text that any detector finds (`a@b.c`)."""


def mask_address(text: str) -> str | None:
    """An IP address cut to its network (/16, or /48 of IPv6), without its port, prefix length and zone; else None."""
    text = text.strip()
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        text = bracketed[1]
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address = ipaddress.ip_address(text.partition("/")[0].partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is not None:
            return f"::ffff:{_network(mapped, 16)}"
        return _network(address, 48)
    return _network(address, 16)


def mask_addresses(value: bytes) -> bytes | None:
    """One address, or several with commas between them as in `X-Forwarded-For`, each masked; None where one is not an
    address. Not more than 64."""
    try:
        parts = value.decode().split(",", _MOST_ADDRESSES)
    except UnicodeDecodeError:
        return None
    if len(parts) > _MOST_ADDRESSES:
        return None
    masked = [mask_address(part) for part in parts]
    return None if None in masked else ", ".join(filter(None, masked)).encode()


def number_text(field: bytes) -> bytes:
    """The text of a number that is a field of an `AnyValue`: `bool_value`, `int_value` or `double_value`."""
    start = next(at for at, byte in enumerate(field) if byte < 0x80) + 1
    tag, body = _varint(field[:start]), field[start:]
    if tag == _DOUBLE:
        (number,) = struct.unpack("<d", body)
        return repr(number).encode()
    value = _varint(body) & (1 << 64) - 1
    if tag == _BOOL:
        return b"true" if value else b"false"
    return b"%d" % (value - (1 << 64) if value >> 63 else value)


def scrub_state(state: bytes, look: Callable[[bytes], bytes | None]) -> bytes | None:
    """A W3C tracestate with each member looked at but a well-formed `ot`, which the sampler needs; None when nothing is
    found."""
    members = state.split(b",")
    found = [None if _OT.fullmatch(member.strip()) else look(member) for member in members]
    if not any(new is not None for new in found):
        return None
    return b",".join(member if new is None else new for member, new in zip(members, found, strict=True))


def holds_inside(field: bytes, find: Callable[[bytes], Sequence[object]]) -> bool:
    """Whether `find` finds anything in a field that nobody knows: in its content as it is, or in what that holds if it
    is a message. True, too, where it is nested deeper than eight messages or holds more than a thousand fields, so that
    no sender makes the search long.
    """
    tag, start = _varint_at(field, 0)
    if tag & 7 == _BYTES:
        _, start = _varint_at(field, start)
    waiting = [(field[start:], 0)]
    looked_at = 0
    while waiting:
        content, depth = waiting.pop()
        looked_at += 1
        if depth > _DEEPEST or looked_at > _MOST_FIELDS or find(content):
            return True
        for inner in _texts(content):
            waiting.append((inner, depth + 1))
            if len(waiting) > _MOST_FIELDS:
                return True
    return False


def _texts(message: bytes) -> Iterator[bytes]:
    """What the length-delimited fields of a possible message hold, those in its groups included; ends quietly where it
    is none."""
    at = 0
    while at < len(message):
        try:
            tag, at = _varint_at(message, at)
            if tag & 7 == _BYTES:
                size, at = _varint_at(message, at)
                if size > len(message) - at:
                    return
                if size >= _SHORTEST:
                    yield message[at : at + size]
                at += size
            elif tag & 7 == _VARINT:
                _, at = _varint_at(message, at)
            elif tag & 7 not in {_GROUP, _END_GROUP}:  # their tags say nothing here: what is inside is read on
                at += {_FIXED64: 8, _FIXED32: 4}[tag & 7]
        except (KeyError, IndexError):
            return
        if tag < _FIRST_TAG:
            return


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends. Raises `IndexError`, also when it has more than ten bytes."""
    end = at
    while message[end] >= 0x80:
        end += 1
        if end - at == _LONGEST_VARINT:
            raise IndexError
    return _varint(message[at : end + 1]), end + 1


def _varint(body: bytes) -> int:
    return sum((byte & 0x7F) << 7 * at for at, byte in enumerate(body))


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int) -> str:
    kept = int(address) >> address.max_prefixlen - bits << address.max_prefixlen - bits
    return str(type(address)(kept))
