"""How many bytes came in over TCP, asked of the kernel (sock_diag), so that compression can be believed."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCK_DIAG_BY_FAMILY = 20
_DUMP_REQUEST = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONE, _ERROR = 3, 2
_INFO = 2  # INET_DIAG_INFO: struct tcp_info
_ESTABLISHED_AND_CLOSING = 0xFFF & ~(1 << 10)  # every state but LISTEN
_BYTES_RECEIVED = 128  # offset of tcpi_bytes_received in struct tcp_info
_HEADER, _MESSAGE = 16, 72  # struct nlmsghdr, struct inet_diag_msg


def received_bytes(port: int) -> dict[int, int]:
    """Bytes received so far by each connection to a local TCP port that is open now, by the peer's port; empty where
    the kernel won't say. A connection's count is gone once it is closed."""
    try:
        return {
            peer: count
            for family in (socket.AF_INET, socket.AF_INET6)
            for local, peer, count in _connections(family)
            if local == port
        }
    except OSError:
        return {}


def _connections(family: int) -> Iterator[tuple[int, int, int]]:
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, _ESTABLISHED_AND_CLOSING)
    request += bytes(48)
    header = struct.pack("=IHHII", _HEADER + len(request), _SOCK_DIAG_BY_FAMILY, _DUMP_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:  # 4: NETLINK_SOCK_DIAG
        link.settimeout(1.0)
        link.send(header + request)
        while True:
            data = link.recv(1 << 18)
            at = 0
            while at + _HEADER <= len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR or length < _HEADER:
                    raise OSError("the kernel refused sock_diag")
                yield _one(data[at + _HEADER : at + length])
                at += (length + 3) & ~3


def _one(message: bytes) -> tuple[int, int, int]:
    port, peer = struct.unpack_from(">HH", message, 4)
    at = _MESSAGE
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INFO and length >= 4 + _BYTES_RECEIVED + 8:
            (count,) = struct.unpack_from("=Q", message, at + 4 + _BYTES_RECEIVED)
            return port, peer, count
        at += max(4, (length + 3) & ~3)
    return port, peer, 0
