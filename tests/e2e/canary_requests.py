"""Requests that a gateway must take, and such that it must refuse, with canaries in them; all replies are kept."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import string
from typing import TYPE_CHECKING
from urllib.parse import quote

import grpc

from collector.wire import to_json

if TYPE_CHECKING:
    from canary import Canaries

PROTOBUF, JSON = "application/x-protobuf", "application/json"
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
KINDS = ("email", "card", "api_key", "jwt", "secret", "user")


class Senders:
    """Speaks to the two listeners and the admin page. `replies`: every byte that came back."""

    def __init__(self, grpc_address: str, http_address: str, admin_address: str) -> None:
        self.grpc_address = grpc_address
        self.http_address = http_address
        self.admin_address = admin_address
        self.replies: list[bytes] = []

    def good(self, payload: bytes) -> None:
        """The same telemetry by every way there is; each must be taken."""
        as_json = to_json(payload, "traces")
        assert self.http(PROTOBUF, payload) == 200
        assert self.http(PROTOBUF, gzip.compress(payload), {"content-encoding": "gzip"}) == 200
        assert self.http(JSON, as_json) == 200
        assert self.http(JSON, all_escaped(as_json)) == 200
        assert self.grpc(payload) == "OK"
        assert self.grpc(payload, compression=grpc.Compression.Gzip) == "OK"

    def http(
        self,
        kind: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        path: str = "/v1/traces",
        address: str = "",
    ) -> int:
        """The status."""
        connection = http.client.HTTPConnection(address or self.http_address, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"content-type": kind, **(headers or {})})
            reply = connection.getresponse()
            content = reply.read()
        self.replies.append(f"{reply.status} {reply.reason}\n{reply.headers}".encode() + content)
        return reply.status

    def grpc(
        self,
        payload: bytes,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
        *,
        method: str = METHOD,
        compression: grpc.Compression | None = None,
    ) -> str:
        """The name of the status."""
        with grpc.insecure_channel(self.grpc_address) as channel:
            try:
                reply, call = channel.unary_unary(method).with_call(
                    payload, timeout=10, metadata=metadata, compression=compression
                )
            except grpc.RpcError as error:
                call, reply = error, b""
        told = f"{call.code()} {call.details()} {call.initial_metadata()} {call.trailing_metadata()}"
        self.replies.append(told.encode() + b"\n" + reply)
        return call.code().name

    def raw(self, address: str, sent: bytes) -> None:
        """Whatever comes back for bytes that need not be a request."""
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(sent)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(3)
                self.replies.append(b"".join(iter(lambda: connection.recv(1 << 16), b"")))

    def bad(self, canaries: Canaries, good: bytes) -> None:
        """Everything that is refused, a fresh canary in each; `good` is a request to damage."""
        for kind in KINDS:
            statuses = [*self._bad_http(canaries, kind, good), *self._bad_json(canaries, kind)]
            assert all(400 <= status < 500 for status in statuses), statuses
            codes = self._bad_grpc(canaries, kind, good)
            assert "OK" not in codes, codes
            self._bad_bytes(canaries, kind)
        self._partial(canaries)

    def _bad_http(self, canaries: Canaries, kind: str, good: bytes) -> list[int]:
        def text() -> str:
            return plain(canaries.make(kind, "http"))

        def body() -> bytes:
            return no_otlp(text())

        headers = {"authorization": f"Bearer {text()}", "user-agent": text(), "x-user": text(), "cookie": text()}
        oversize = message(1000, (text().encode() * 200_000)[: 3 << 20])
        return [
            self.http(PROTOBUF, body(), headers),
            self.http(PROTOBUF, body(), path=f"/v1/{text()}"),
            self.http(PROTOBUF, body(), path=f"/v1/traces/{text()}?user={text()}"),
            self.http(PROTOBUF, body(), method="PUT"),
            self.http(text(), body()),
            self.http(f"{JSON}; charset={text()}", body()),
            self.http(PROTOBUF, body(), {"content-encoding": text()}),
            self.http(PROTOBUF, body(), {"content-encoding": "gzip"}),
            self.http(PROTOBUF, gzip.compress(good)[:-9], {"content-encoding": "gzip"}),
            self.http(PROTOBUF, gzip.compress(good) + body(), {"content-encoding": "gzip"}),
            self.http(PROTOBUF, good[:-7]),
            self.http(PROTOBUF, good + body()),
            self.http(PROTOBUF, oversize),
            self.http(PROTOBUF, gzip.compress(oversize), {"content-encoding": "gzip"}),
        ]

    def _bad_json(self, canaries: Canaries, kind: str) -> list[int]:
        def text() -> str:
            return json.dumps(canaries.make(kind, "json") + "!", ensure_ascii=False)  # neither a number nor base64

        def span(member: str) -> bytes:
            return f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{member}}}]}}]}}]}}'.encode()

        def attribute(value: str) -> bytes:
            return span(f'"attributes":[{{"key":{text()},"value":{value}}}]')

        return [
            self.http(JSON, each)
            for each in (
                text().encode(),
                span(f'"name":{text()}')[:-3],
                span(f'"name":{text()} {text()}'),
                span(f'"name":{text()}').replace(b'"name":"', b'"name":"\xff\xfe'),
                span(f'"name":{text()}').replace(b'"name":"', b'"name":"\\ud800'),
                span(f'"name":[{text()}]'),
                span(f'"traceId":{text()}'),
                span(f'"startTimeUnixNano":{text()}'),
                span(f'"kind":{text()}'),
                span(f'"status":{text()}'),
                span(f'"attributes":{text()}'),
                attribute(f'{{"intValue":{text()}}}'),
                attribute(f'{{"bytesValue":{text()}}}'),
                attribute('{"arrayValue":{"values":[' * 200 + f'{{"stringValue":{text()}}}' + "]}}" * 200),
            )
        ]

    def _bad_grpc(self, canaries: Canaries, kind: str, good: bytes) -> list[str]:
        def text() -> str:
            return plain(canaries.make(kind, "grpc"))

        metadata = (("authorization", f"Bearer {text()}"), ("x-user", text()), ("x-user-bin", text().encode()))
        return [
            self.grpc(no_otlp(text()), metadata),
            self.grpc(good[:-7], metadata),
            self.grpc(good + no_otlp(text())),
            self.grpc(message(1000, (text().encode() * 300_000)[: 5 << 20])),
            self.grpc(b"", method=f"/{text().replace('/', '.')}/Export"),
            self.grpc(b"", method=METHOD.replace("Export", text().replace("/", "."))),
            self.grpc(no_otlp(text()), compression=grpc.Compression.Gzip),
        ]

    def _bad_bytes(self, canaries: Canaries, kind: str) -> None:
        for address in (self.http_address, self.grpc_address, self.admin_address):
            for form in (
                "{0}\r\n\r\n",
                "GET /{1} HTTP/9.9\r\n\r\n",
                "POST /v1/traces HTTP/1.1\r\nhost: {1}\r\n{1}\r\n\r\n",
            ):
                text = canaries.make(kind, "raw")
                self.raw(address, form.format(text, plain(text)).encode())

    def _partial(self, canaries: Canaries) -> None:
        """Spans whose ids are none: the request is taken, and the answer says how many were left out."""
        name = canaries.make("email", "rejected span").encode()
        span = message(2, message(1, b"\1" * 15) + message(2, b"\1" * 8) + message(5, name))
        assert self.http(PROTOBUF, message(1, message(2, span))) == 200
        assert b"1" in self.replies[-1]
        assert self.grpc(message(1, message(2, span))) == "OK"

    def pages(self, canaries: Canaries, trace_ids: list[str]) -> bytes:
        """Every page of the admin address, those too that there aren't."""
        before = len(self.replies)
        for path in ("/metrics", "/readyz", "/livez", "/startupz", "/", *(f"/why/{each}" for each in trace_ids)):
            self.http("text/plain", b"", method="GET", path=path, address=self.admin_address)
        for kind in KINDS:
            for path in ("/why/{}", "/why/00112233445566778899aabbccddeeff?who={}", "/{}", "/metrics?name[]={}"):
                asked = path.format(plain(canaries.make(kind, "page")))
                self.http("text/plain", b"", method="GET", path=asked, address=self.admin_address)
                self.http("text/plain", b"", path=asked, address=self.admin_address)
        return b"\n".join(self.replies[before:])


def no_otlp(text: str) -> bytes:
    """A `ResourceSpans` that begins with a wire type that there isn't."""
    return message(1, b"\x0f" + text.encode())


def message(number: int, body: bytes) -> bytes:
    """One length-delimited field of protobuf."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def plain(text: str) -> str:
    """As it may stand in a header, a path or a name of gRPC."""
    return quote(text, safe=string.punctuation.translate(str.maketrans("", "", "%#?")))


def all_escaped(as_json: bytes) -> bytes:
    """The same JSON with every character of its values that are strings written as an escape."""

    def escaped(match: re.Match[str]) -> str:
        text = json.loads(match[1])
        units = text.encode("utf-16-be")
        return ':"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'

    return re.sub(r':("(?:[^"\\]|\\.)*")', escaped, as_json.decode()).encode()
