"""Endpoints: what `host:port` means, and whether it can be listened on."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed `host:port`; IPv6 addresses stand in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Raises `ValueError` with what was expected."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError("expected host:port, with an IPv6 address in brackets such as [::1]:4317")
        if not colon or not port.isdecimal() or int(port) > 65535:
            raise ValueError("expected host:port such as localhost:4317")
        if not host:
            raise ValueError("expected a host before the port; write 0.0.0.0 to listen on every interface")
        return cls(host, int(port))


def bind(endpoint: Endpoint) -> list[socket.socket]:
    """A bound socket (not listening yet) for every address of the host; addresses this machine lacks are left
    out.

    All of a name's addresses or none: half of `localhost` taken by another process would split the senders
    between the two. Raises `OSError` that names the endpoint.
    """
    shown = f"{endpoint.host}:{endpoint.port}"
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OSError(error.errno, f"can't listen on {shown}: the host name doesn't resolve") from None
    bound: list[socket.socket] = []
    port = endpoint.port
    # IPv4 first: an ephemeral port is chosen once, and the other families then follow it.
    for family, _type, _proto, _name, address in sorted(set(found), key=lambda info: info[0] != socket.AF_INET):
        try:
            bound.append(_bound(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno in _NOT_HERE:
                continue
            for sock in bound:
                sock.close()
            reason = "the port is in use" if error.errno == errno.EADDRINUSE else "it can't be bound"
            raise OSError(error.errno, f"can't listen on {shown}: {reason}") from None
        port = bound[0].getsockname()[1]
    if not bound:
        raise OSError(errno.EADDRNOTAVAIL, f"can't listen on {shown}: the address isn't this machine's")
    return bound


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
