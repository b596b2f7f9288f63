"""The few requests of Kafka's protocol that starting a cluster needs, over one plain socket each.

Blocking and without a client library, so that tests, benches and event loops alike may use them. The layouts are those
of the protocol guide, in the newest version of each request that has no compact fields.
"""

from __future__ import annotations

import io
import socket
import struct
from typing import NamedTuple

_METADATA, _FIND_COORDINATOR = 3, 10
_TIMEOUT = 2.0


class Metadata(NamedTuple):
    """What one broker knows of its cluster: the brokers that take part, and the controller (-1: none yet)."""

    brokers: frozenset[int]
    controller: int


def metadata(port: int) -> Metadata:
    """The cluster as the broker on `port` sees it. Raises `OSError`."""
    answer = _call(port, _METADATA, 1, struct.pack(">i", 0))  # no topics
    brokers = []
    for _ in range(answer.int32()):
        brokers.append(answer.int32())
        answer.string()  # host
        answer.int32()  # port
        answer.string()  # rack
    return Metadata(frozenset(brokers), answer.int32())


def has_coordinator(port: int, group: str) -> bool:
    """Whether consumers of `group` could join now; the first question makes the broker create its offsets topic."""
    return _call(port, _FIND_COORDINATOR, 0, string(group)).int16() == 0


def string(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">h", len(data)) + data


class _Answer(io.BytesIO):
    def int16(self) -> int:
        return int(struct.unpack(">h", self.read(2))[0])

    def int32(self) -> int:
        return int(struct.unpack(">i", self.read(4))[0])

    def string(self) -> str | None:
        length = self.int16()
        return None if length < 0 else self.read(length).decode()


def _call(port: int, key: int, version: int, body: bytes) -> _Answer:
    request = struct.pack(">hhi", key, version, 1) + string("butterfly-tests") + body
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as reply:
            head = reply.read(8)
            if len(head) < 8:
                raise ConnectionError("the broker hung up")
            (length,) = struct.unpack(">i", head[:4])
            return _Answer(reply.read(length - 4))
