"""The few requests of Kafka's protocol that starting a cluster needs, over one plain socket each.

Blocking and without a client library, so that tests, benches and event loops alike may use them. The layouts are those
of the protocol guide, in the newest version of each request that has no compact fields.
"""

from __future__ import annotations

import io
import socket
import struct
from typing import NamedTuple

_METADATA, _FIND_COORDINATOR, _DESCRIBE_ACLS, _CREATE_ACLS, _DELETE_ACLS = 3, 10, 29, 30, 31
_TIMEOUT = 2.0

_ANY, _LITERAL, _DENY, _ALLOW = 1, 3, 2, 3
_RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
_OPERATIONS = {
    "all": 2,
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "describe_configs": 10,
    "alter_configs": 11,
    "idempotent_write": 12,
}


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
    return _call(port, _FIND_COORDINATOR, 0, _string(group)).int16() == 0


class Acl(NamedTuple):
    """A permission of `user`, who logged in: `operation` on the `resource` (topic, group or cluster) of that name."""

    user: str
    operation: str
    resource: str
    name: str
    allow: bool

    @property
    def _who(self) -> bytes:
        kind = _ALLOW if self.allow else _DENY
        return _string(f"User:{self.user}") + _string("*") + bytes((_OPERATIONS[self.operation], kind))

    def encode(self) -> bytes:
        """As a binding and, in the same layout, as a filter that only this binding passes."""
        return bytes((_RESOURCES[self.resource],)) + _string(self.name) + bytes((_LITERAL,)) + self._who


def every_acl_of(user: str) -> bytes:
    """A filter that passes every permission of `user`."""
    return (
        bytes((_ANY,)) + _string(None) + bytes((_ANY,)) + _string(f"User:{user}") + _string(None) + bytes((_ANY, _ANY))
    )


def create_acl(port: int, acl: Acl) -> None:
    """Add a permission to the cluster. Raises `OSError`, with Kafka's number if it refused."""
    _check(_call(port, _CREATE_ACLS, 1, struct.pack(">i", 1) + acl.encode()))


def delete_acls(port: int, wanted: bytes) -> None:
    """Remove the permissions that pass the filter `wanted`. Raises `OSError`, with Kafka's number if it refused."""
    _check(_call(port, _DELETE_ACLS, 1, struct.pack(">i", 1) + wanted))


def has_acl(port: int, wanted: bytes) -> bool:
    """Whether the broker on `port` follows a permission that passes the filter `wanted`."""
    answer = _call(port, _DESCRIBE_ACLS, 1, wanted)
    answer.int32()  # throttled for
    answer.int16()  # error, none without security on this listener
    answer.string()  # its text
    return answer.int32() > 0


def _check(answer: _Answer) -> None:
    answer.int32()  # throttled for
    answer.int32()  # one result, as there was one request
    if error := answer.int16():
        raise OSError(f"Kafka refused with error {error}: {answer.string()}")


def _string(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">h", -1)
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
    request = struct.pack(">hhi", key, version, 1) + _string("butterfly-tests") + body
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as reply:
            head = reply.read(8)
            if len(head) < 8:
                raise ConnectionError("the broker hung up")
            (length,) = struct.unpack(">i", head[:4])
            return _Answer(reply.read(length - 4))
