"""A Loki that is as strict as its documentation says, keeps what it takes, and fails on demand.

Pushes are decoded with protobuf. Of a push with entries that its limits refuse it takes the others and answers 400, as
Loki does; an entry that a stream has already (same time, same line) is recognised and not kept twice.
"""

from __future__ import annotations

import re
import time

import cramjam
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.unit.exporters.loki.loki_push import PushRequest, entries_of

_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.)")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


def parse_labels(text):
    """{name: value} of a stream's labels. Raises `ValueError` where Loki's parser would."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("braces")
    found, at = {}, 1
    while at < len(text) - 1:
        match = _PAIR.match(text, at)
        if match is None or match[1] in found:
            raise ValueError(text)
        found[match[1]] = _ESCAPE.sub(
            lambda each: chr(int(each[1][1:], 16)) if each[1][0] == "x" and each[1] != "x" else _SIMPLE[each[1]],
            match[2],
        )
        at = match.end()
        if at < len(text) - 1:
            if not text.startswith(", ", at):
                raise ValueError(text)
            at += 2
    return found


class FakeLoki:
    """`requests` are (path, headers, answered status). `kept`: {(labels, time, line): metadata}."""

    def __init__(
        self,
        *,
        wall=time.time_ns,
        tenant=None,
        burst=6 << 20,
        most_bytes=100 << 20,
        metadata=True,
        most_message=4 << 20,
    ):
        self.wall = wall
        self.tenant = tenant
        self.burst = burst
        self.most_bytes = most_bytes
        self.metadata = metadata
        self.most_message = most_message
        """Bytes of a push before compression that its parts hand on to each other."""
        self.poison = lambda line: "poison" in line
        self.crash = lambda line: "crash" in line
        self.script = []
        """Answers to the next requests: (status, headers), or "lost" for one that is taken and never answered."""
        self.down = None
        """Status of every answer while it isn't None."""
        self.requests = []
        self.pushes = []
        self.kept = {}
        self.copies = 0

    async def start(self, tls=None):
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/loki/api/v1/push", self._push)
        app.router.add_post("/otlp/v1/logs", self._otlp)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.url = f"http{'s' if tls else ''}://localhost:{site._server.sockets[0].getsockname()[1]}"

    async def stop(self):
        await self._runner.cleanup()

    def lines(self):
        return sorted(line for _, _, line in self.kept)

    async def _push(self, request):
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        return await self._answer(request, body, lambda: self._decode(request, body))

    def _decode(self, request, body):
        assert request.headers["Content-Encoding"] == "snappy"
        push = PushRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
        self.pushes.append(push)
        labels = [stream.labels for stream in push.streams]
        assert labels == sorted(set(labels)), "streams in order, each once"
        for stream in push.streams:
            times = [each.timestamp.ToNanoseconds() for each in stream.entries]
            assert times == sorted(times), "entries of a stream in order of time"
            assert stream.hash == 0
        return entries_of(push)

    async def _otlp(self, request):
        body = await request.read()

        def decode():
            assert request.headers["Content-Encoding"] == "gzip"
            logs = ExportLogsServiceRequest.FromString(body)  # aiohttp has undone the gzip
            return [
                ('{service_name="otlp"}', record.time_unix_nano, record.body.string_value, [])
                for resource in logs.resource_logs
                for scope in resource.scope_logs
                for record in scope.log_records
            ]

        return await self._answer(request, body, decode)

    async def _answer(self, request, body, decode):
        status, headers, text = self._judge(request, body, decode)
        self.requests.append((request.path, dict(request.headers), status))
        if status == "lost":
            request.transport.abort()
            return web.Response(status=500)
        return web.Response(status=status, headers=headers, text=text if status != 204 else None)

    def _judge(self, request, body, decode):
        if self.down is not None:
            return self.down, {}, "down"
        step = self.script.pop(0) if self.script else None
        if isinstance(step, tuple):
            return step[0], step[1], "as told"
        if self.tenant is not None and request.headers.get("X-Scope-OrgID") != self.tenant:
            return 401, {}, "no org id"
        if len(body) > self.most_bytes:
            return 413, {}, "request body too large"
        entries = decode()
        if (
            sum(len(line.encode()) + sum(len(n) + len(v) for n, v in pairs) for _, _, line, pairs in entries)
            > self.burst
        ):
            return 429, {}, "Ingestion rate limit exceeded (limit: 4194304 bytes/sec)"
        if len(cramjam.snappy.decompress_raw(body) if request.path.endswith("/push") else body) > self.most_message:
            return 500, {}, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max"
        if any(self.crash(line) for _, _, line, _ in entries):
            return 500, {}, "boom"
        wrong = []
        for labels, when, line, pairs in entries:
            fault = self._fault(labels, when, line, pairs)
            if fault:
                wrong.append(fault)
                continue
            self.copies += (labels, when, line) in self.kept
            self.kept[labels, when, line] = dict(pairs)
        if wrong:
            return 400, {}, "\n".join(wrong[:10])
        return step or 204, {}, ""

    def _fault(self, labels, when, line, pairs):
        """Why Loki refuses this entry, in its words as far as the exporter reads them, or nothing."""
        try:
            found = parse_labels(labels)
        except ValueError:
            return f"Error parsing labels '{labels}' with error: 1:2: parse error"
        if not found:
            return "error at least one label pair is required per stream"
        if list(found) != sorted(found) or not all(found.values()):
            return "stream labels aren't canonical"
        if len(found) > 15:
            return f"entry for stream '{labels}' has {len(found)} label names; limit 15"
        if any(len(name) > 1024 or len(value.encode()) > 2048 for name, value in found.items()):
            return f"stream '{labels}' has label value too long"
        if when < self.wall() - 7 * 86400 * 10**9:
            return f"entry for stream '{labels}' has timestamp too old"
        if when > self.wall() + 600 * 10**9:
            return f"entry for stream '{labels}' has timestamp too new"
        if len(line.encode()) > 256 << 10:
            return f"Max entry size '262144' bytes exceeded for stream '{labels}' while adding an entry"
        if pairs and not self.metadata:
            return "includes structured metadata, see limits_config.allow_structured_metadata"
        if len(pairs) > 128 or sum(len(n.encode()) + len(v.encode()) for n, v in pairs) > 64 << 10:
            return f"stream '{labels}' has structured metadata too large"
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names) or not all(_PAIR.fullmatch(f'{name}=""') for name in names):
            return f"stream '{labels}' has structured metadata too odd"
        if self.poison(line):
            return f"entry with timestamp T ignored, reason: 'entry too far behind' for stream: {labels},"
        return None
