"""The otlp exporter behind its queue, against real gRPC and HTTP servers that fail by script. Times are measured."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
import os
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest
import zstandard
from aiohttp import web
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collector import ack as acks
from collector.api import Ack, Batch, BuildContext, ConfigError, Meter, Outcome
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.queue import ExportQueue
from exporters.otlp import OtlpExporter, OtlpOptions

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PLAIN = {"tls": {"insecure": True}}
QUICK = {
    "timeout": "10s",  # a slow machine's attempts are no failures
    "sending_queue": {"batch": {"flush_timeout": "1ms"}},
    "retry_on_failure": {"initial_interval": "20ms", "max_interval": "50ms"},
}


def request_of(names, pad=""):
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "test" + pad
    scope = resource.scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    return request


def names_in(payload):
    request = ExportTraceServiceRequest.FromString(payload)
    return [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]


def partial(rejected):
    reply = ExportTraceServiceResponse()
    reply.partial_success.rejected_spans = rejected
    reply.partial_success.error_message = "no room for these"
    return reply.SerializeToString()


class GrpcBackend:
    """A trace service; each call is answered by the script's next step (the last one stays): bytes, a status code, a
    (code, RetryInfo seconds) pair, or a function of the names that gives one of these or "hang".
    """

    def __init__(self):
        self.script = [b""]
        self.times, self.payloads, self.metadata, self.timeouts = [], [], [], []
        self.port = 0
        self.release = asyncio.Event()

    async def start(self, credentials=None):
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(self.handle)
        service, method = METHOD[1:].split("/")
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self.server.add_insecure_port(address)
        else:
            self.port = self.server.add_secure_port(address, credentials)
        await self.server.start()
        return self

    async def stop(self):
        self.release.set()
        await self.server.stop(None)

    async def handle(self, payload, context):
        self.times.append(time.monotonic())
        self.payloads.append(payload)
        self.metadata.append(dict(context.invocation_metadata()))
        self.timeouts.append(context.time_remaining())
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(step):
            step = step(names_in(payload))
        if step == "hang":
            await self.release.wait()
        if isinstance(step, tuple):
            step, seconds = step
            info = RetryInfo()
            info.retry_delay.FromNanoseconds(round(seconds * 1e9))
            detail = Any()
            detail.Pack(info)
            status = Status(code=step.value[0], details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        if isinstance(step, grpc.StatusCode):
            await context.abort(step, "the backend's own words with a secret")
        return b"" if step == "hang" else step


class HttpBackend:
    """An HTTP server whose answers are scripted as (status, headers, body), or functions of the names giving that."""

    def __init__(self):
        self.script = [(200, {}, b"")]
        self.times, self.bodies, self.headers, self.paths = [], [], [], []
        self.sent = None
        self.release = asyncio.Event()

    async def start(self, context=None):
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0, auto_decompress=False)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        self.release.set()
        await self.runner.cleanup()

    async def handle(self, request):
        self.times.append(time.monotonic())
        self.bodies.append(await request.read())
        self.headers.append(request.headers.copy())
        self.paths.append(request.path)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(step):
            step = step(names_in(self.bodies[-1]))
        if step == "hang":
            await self.release.wait()
            step = (200, {}, b"")
        status, headers, body = step
        if not isinstance(body, int):
            return web.Response(status=status, headers=headers, body=body)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        sent = 0
        try:
            while sent < body:
                await response.write(bytes(1 << 20))
                sent += 1 << 20
        except ConnectionError:
            pass
        self.sent = sent
        return response


class Ends:
    def __init__(self):
        self.all = []

    def batch(self, *names, pad=""):
        return Batch(
            request_of(names, pad).SerializeToString(), Ack(lambda *end: self.all.append(end)), count=len(names)
        )

    async def wait(self, n=1, within=10):
        await until(lambda: len(self.all) >= n, within)


async def until(holds, within=10):
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.002)


@pytest.fixture
async def grpc_backend():
    backend = await GrpcBackend().start()
    yield backend
    await backend.stop()


@pytest.fixture
async def http_backend():
    backend = await HttpBackend().start()
    yield backend
    await backend.stop()


@pytest.fixture
async def connect(tmp_path):
    queues = []
    before = acks.leaked()

    async def build(**options):
        config = OtlpOptions.model_validate({**QUICK, **options})
        assert OtlpExporter.problems(config) == []
        exporter = OtlpExporter(config, BuildContext("otlp/test", logging.getLogger("butterfly.otlp")))
        queue = ExportQueue(
            exporter,
            DeadLetter(tmp_path / "dead", 1 << 24),
            Meter(),
            durable=True,
            log=logging.getLogger("butterfly.otlp"),
        )
        await queue.start()
        queues.append(queue)
        return queue

    yield build
    for queue in queues:
        await queue.stop(0.2)
    assert acks.leaked() == before


@pytest.fixture
def ends():
    return Ends()


def over(kind, backend, **options):
    if kind == "grpc":
        return {"endpoint": f"127.0.0.1:{backend.port}", **PLAIN, **options}
    return {"endpoint": f"http://127.0.0.1:{backend.port}", "protocol": "http", **options}


# -- what is sent


@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_grpc_sends_the_payload_headers_and_deadline(connect, grpc_backend, ends, compression):
    queue = await connect(**over("grpc", grpc_backend, compression=compression, headers={"X-Scope-OrgID": "tenant-1"}))
    batch = ends.batch("a", "b", pad="x" * 5000)
    payload = batch.payload
    queue.offer(batch)
    await ends.wait()
    assert ends.all == [(Outcome.DELIVERED, "")]
    assert grpc_backend.payloads == [payload]
    assert grpc_backend.metadata[0]["x-scope-orgid"] == "tenant-1"
    assert 1 < grpc_backend.timeouts[0] <= 10


@pytest.mark.parametrize(
    ("compression", "decode"),
    [("gzip", gzip.decompress), ("zstd", zstandard.decompress), ("none", lambda body: body)],
)
@pytest.mark.parametrize("size", [10, 300_000])
async def test_http_sends_the_payload_compressed(connect, http_backend, ends, compression, decode, size):
    queue = await connect(**over("http", http_backend, compression=compression, headers={"X-Token": "t"}))
    batch = ends.batch("a", pad="x" * size)
    queue.offer(batch)
    await ends.wait()
    headers = http_backend.headers[0]
    assert decode(http_backend.bodies[0]) == batch.payload
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers.get("Content-Encoding") == (None if compression == "none" else compression)
    assert headers["Accept-Encoding"] == "identity"
    assert headers["X-Token"] == "t"
    assert http_backend.paths == ["/v1/traces"]
    if compression != "none" and size > 1000:
        assert int(headers["Content-Length"]) < size / 10


async def test_http_paths(connect, http_backend, ends):
    base = f"http://127.0.0.1:{http_backend.port}"
    for options in ({"endpoint": f"{base}/otlp/"}, {"endpoint": base, "traces_endpoint": f"{base}/in/spans"}):
        queue = await connect(protocol="http", **options)
        queue.offer(ends.batch("a"))
    await ends.wait(2)
    assert http_backend.paths == ["/otlp/v1/traces", "/in/spans"]


# -- what passes


RETRYABLE_GRPC = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]
HELD_GRPC = ["UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"]


@pytest.mark.parametrize("code", RETRYABLE_GRPC + HELD_GRPC)
async def test_grpc_statuses_that_pass_are_retried(connect, grpc_backend, ends, code):
    grpc_backend.script = [grpc.StatusCode[code], b""]
    queue = await connect(**over("grpc", grpc_backend))
    queue.offer(ends.batch("a"))
    await ends.wait()
    assert ends.all == [(Outcome.DELIVERED, "")]
    assert len(grpc_backend.times) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504, 401, 403, 404, 415])
async def test_http_statuses_that_pass_are_retried(connect, http_backend, ends, status):
    http_backend.script = [(status, {}, b"secret words"), (200, {}, b"")]
    queue = await connect(**over("http", http_backend))
    queue.offer(ends.batch("a"))
    await ends.wait()
    assert ends.all == [(Outcome.DELIVERED, "")]
    assert len(http_backend.times) == 2


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
async def test_retry_info_is_obeyed(connect, grpc_backend, ends, code):
    grpc_backend.script = [(grpc.StatusCode[code], 0.25), b""]
    queue = await connect(**over("grpc", grpc_backend))
    queue.offer(ends.batch("a"))
    await ends.wait()
    assert 0.25 <= grpc_backend.times[1] - grpc_backend.times[0] < 0.6
    assert ends.all == [(Outcome.DELIVERED, "")]


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_obeyed(connect, http_backend, ends, form):
    from email.utils import formatdate

    value = "1" if form == "seconds" else formatdate(math.ceil(time.time()) + 1, usegmt=True)
    http_backend.script = [(503, {"Retry-After": value}, b""), (200, {}, b"")]
    queue = await connect(**over("http", http_backend))
    queue.offer(ends.batch("a"))
    await ends.wait()
    gap = http_backend.times[1] - http_backend.times[0]
    assert (1.0 if form == "seconds" else 0.9) <= gap < 2.5


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_a_hanging_backend_costs_the_timeout_and_no_more(connect, grpc_backend, http_backend, ends, kind):
    backend = grpc_backend if kind == "grpc" else http_backend
    backend.script = ["hang", b"" if kind == "grpc" else (200, {}, b"")]
    queue = await connect(**over(kind, backend, compression="none", timeout="300ms"))
    began = time.monotonic()
    queue.offer(ends.batch("a"))
    await ends.wait()
    assert 0.3 <= time.monotonic() - began < 0.8
    assert len(backend.times) == 2


async def test_a_grpc_backend_that_comes_back_is_found_within_seconds(connect, ends):
    backend = await GrpcBackend().start()
    port = backend.port
    queue = await connect(**over("grpc", backend))
    await backend.stop()
    queue.offer(ends.batch("a"))
    await asyncio.sleep(1.5)  # so long that attempts come seldom
    await until(lambda: "UNAVAILABLE" in (queue.healthy() or ""))
    backend = GrpcBackend()
    backend.port = port
    await backend.start()
    back = time.monotonic()
    await ends.wait(within=8)
    assert time.monotonic() - back < 5
    assert queue.healthy() is None
    await backend.stop()


async def test_an_absent_http_backend_is_retried(connect, ends):
    backend = await HttpBackend().start()
    queue = await connect(**over("http", backend))
    await backend.stop()
    queue.offer(ends.batch("a"))
    await until(lambda: "can't be reached" in (queue.healthy() or ""))
    assert queue.items == 1


# -- what never passes


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "INTERNAL", "UNKNOWN", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"]
)
async def test_grpc_refusals_are_dead_lettered_and_never_repeated(connect, grpc_backend, ends, tmp_path, code):
    grpc_backend.script = [grpc.StatusCode[code]]
    queue = await connect(**over("grpc", grpc_backend))
    queue.offer(ends.batch("a"))
    await ends.wait()
    await asyncio.sleep(0.05)
    assert len(grpc_backend.times) == 1
    assert ends.all == [(Outcome.REJECTED, "rejected")]
    (dead,) = read(tmp_path / "dead")
    assert dead.reason == f"rejected: the backend answers {code}"


@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_http_refusals_are_dead_lettered_and_never_repeated(connect, http_backend, ends, tmp_path, status):
    http_backend.script = [(status, {}, b"the backend's own words with a secret")]
    queue = await connect(**over("http", http_backend))
    queue.offer(ends.batch("a"))
    await ends.wait()
    await asyncio.sleep(0.05)
    assert len(http_backend.times) == 1
    (dead,) = read(tmp_path / "dead")
    assert dead.reason == f"rejected: the backend answers HTTP {status}"


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_one_poison_span_in_a_thousand(connect, grpc_backend, http_backend, ends, tmp_path, kind):
    backend = grpc_backend if kind == "grpc" else http_backend
    bad, good = ("INVALID", b"") if kind == "grpc" else ((400, {}, b""), (200, {}, b""))
    bad = grpc.StatusCode.INVALID_ARGUMENT if kind == "grpc" else bad
    backend.script = [lambda names: bad if "s613" in names else good]
    queue = await connect(**over(kind, backend, compression="none"))
    queue.offer(ends.batch(*(f"s{i}" for i in range(1000))))
    await ends.wait()
    (dead,) = read(tmp_path / "dead")
    assert names_in(dead.payload) == ["s613"]
    bodies = backend.payloads if kind == "grpc" else backend.bodies
    taken = [name for body in bodies if "s613" not in names_in(body) for name in names_in(body)]
    assert sorted(taken) == sorted(f"s{i}" for i in range(1000) if i != 613)
    assert len(bodies) - 1 <= 2 * math.log2(1000)


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_partial_success_is_not_repeated(connect, grpc_backend, http_backend, ends, tmp_path, kind):
    backend = grpc_backend if kind == "grpc" else http_backend
    backend.script = [partial(2) if kind == "grpc" else (200, {}, partial(2))]
    queue = await connect(**over(kind, backend))
    queue.offer(ends.batch("a", "b", "c"))
    await ends.wait()
    await asyncio.sleep(0.05)
    assert len(backend.times) == 1
    assert ends.all == [(Outcome.DELIVERED, "")]
    (dead,) = read(tmp_path / "dead")
    assert (dead.reason, dead.rejected, dead.items) == ("partial_success", 2, 3)


# -- hostile backends


async def test_a_huge_http_reply_is_not_read(connect, http_backend, ends):
    http_backend.script = [(200, {}, 1 << 30)]
    queue = await connect(**over("http", http_backend))
    before = rss()
    queue.offer(ends.batch("a"))
    await ends.wait(within=3)
    assert ends.all == [(Outcome.DELIVERED, "")]
    await until(lambda: http_backend.sent is not None)
    assert http_backend.sent < 64 << 20
    assert rss() - before < 64 << 20


async def test_a_huge_http_refusal_is_not_read(connect, http_backend, ends):
    http_backend.script = [(503, {}, 1 << 30), (200, {}, b"")]
    queue = await connect(**over("http", http_backend))
    queue.offer(ends.batch("a"))
    await ends.wait(within=3)
    await until(lambda: http_backend.sent is not None)
    assert http_backend.sent < 64 << 20


async def test_a_huge_grpc_reply_is_not_read(connect, grpc_backend, ends):
    grpc_backend.script = [bytes(64 << 20)]
    queue = await connect(**over("grpc", grpc_backend, timeout="5s"))
    queue.offer(ends.batch("a"))
    await ends.wait(within=5)
    assert len(grpc_backend.times) == 1


async def test_interim_answers_without_end_are_not_kept(connect, ends):
    sent = 0

    async def babble(_reader, writer):
        nonlocal sent
        try:
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
                sent += 1000
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    queue = await connect(endpoint=f"http://127.0.0.1:{port}", protocol="http", timeout="3s")
    queue.offer(ends.batch("a"))
    while "ended the connection" not in (queue.healthy() or ""):
        await asyncio.sleep(0.02)
    assert sent < 1_000_000
    server.close()


async def test_redirects_are_not_followed(connect, http_backend, ends):
    target = await HttpBackend().start()
    http_backend.script = [(307, {"Location": f"http://127.0.0.1:{target.port}/v1/traces"}, b"")]
    queue = await connect(**over("http", http_backend, headers={"Authorization": "Bearer hunter2"}))
    queue.offer(ends.batch("a"))
    await until(lambda: len(http_backend.times) >= 2)
    assert target.times == []
    assert "HTTP 307" in queue.healthy()
    await target.stop()


@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_no_words_of_the_backend_and_no_secret_reach_the_log(
    connect, grpc_backend, http_backend, ends, caplog, kind
):
    caplog.set_level(logging.DEBUG, "butterfly")
    backend = grpc_backend if kind == "grpc" else http_backend
    denied = grpc.StatusCode.UNAUTHENTICATED if kind == "grpc" else (401, {}, b"the backend's own words with a secret")
    backend.script = [denied]
    queue = await connect(**over(kind, backend, headers={"authorization": "Bearer hunter2"}))
    queue.offer(ends.batch("span-name"))
    await until(lambda: len(backend.times) >= 3 and queue.healthy() is not None)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("butterfly"))
    assert "check endpoint, headers and credentials" in said
    assert said.count("check endpoint") == 1
    for word in ("hunter2", "secret", "span-name", "127.0.0.1"):
        assert word not in said
        assert word not in queue.healthy()


# -- TLS


@pytest.fixture
async def tls_backend(pki, request):
    import ssl

    kind = request.param
    if kind == "grpc":
        pair = ((pki / "server.key").read_bytes(), (pki / "server.pem").read_bytes())
        backend = await GrpcBackend().start(
            grpc.ssl_server_credentials([pair], (pki / "ca.pem").read_bytes(), require_client_auth=True)
        )
    else:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
        context.load_cert_chain(pki / "server.pem", pki / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        backend = await HttpBackend().start(context)
    backend.kind = kind
    yield backend
    await backend.stop()


both = pytest.mark.parametrize("tls_backend", ["grpc", "http"], indirect=True)


def mutual(pki, **tls):
    return {
        "ca_file": str(pki / "ca.pem"),
        "cert_file": str(pki / "client.pem"),
        "key_file": str(pki / "client.key"),
        **tls,
    }


def secured(backend, host="localhost", **tls):
    return {"endpoint": f"https://{host}:{backend.port}", "protocol": backend.kind, "timeout": "2s", "tls": tls}


@both
async def test_mutual_tls(connect, tls_backend, pki, ends):
    queue = await connect(**secured(tls_backend, **mutual(pki)))
    queue.offer(ends.batch("a"))
    await ends.wait()
    assert ends.all == [(Outcome.DELIVERED, "")]


@both
async def test_the_name_in_the_certificate_can_be_told(connect, tls_backend, pki, ends):
    queue = await connect(**secured(tls_backend, "127.0.0.1", **mutual(pki, server_name_override="localhost")))
    queue.offer(ends.batch("a"))
    await ends.wait()
    assert ends.all == [(Outcome.DELIVERED, "")]


@both
@pytest.mark.parametrize("fault", ["other authority", "wrong name", "no client certificate"])
async def test_failing_tls_is_retried_and_never_falls_back_to_plaintext(connect, tls_backend, pki, ends, fault):
    tls = mutual(pki)
    host = "localhost"
    if fault == "other authority":
        tls["ca_file"] = str(pki / "other.pem")
    elif fault == "wrong name":
        host = "127.0.0.1"
    else:
        tls = {"ca_file": tls["ca_file"]}
    queue = await connect(**secured(tls_backend, host, **tls))
    queue.offer(ends.batch("a"))
    await until(lambda: queue.healthy() is not None)
    await asyncio.sleep(0.6)
    assert ends.all == []
    assert tls_backend.times == []


async def test_skipping_verification_is_possible_over_http_only(connect, pki, ends):
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    backend = await HttpBackend().start(context)
    backend.kind = "http"
    queue = await connect(**secured(backend, "127.0.0.1", insecure_skip_verify=True))
    queue.offer(ends.batch("a"))
    await ends.wait()
    await backend.stop()


async def test_tls_to_a_plaintext_backend_sends_no_request(connect, http_backend, ends):
    queue = await connect(endpoint=f"https://127.0.0.1:{http_backend.port}", protocol="http")
    queue.offer(ends.batch("a"))
    await until(lambda: queue.healthy() is not None)
    assert http_backend.times == []


@pytest.mark.parametrize("kind", ["grpc", "http"])
@pytest.mark.parametrize("broken", ["absent", "garbage"])
async def test_unusable_tls_files_stop_the_start(tmp_path, kind, broken):
    path = tmp_path / "ca.pem"
    if broken == "garbage":
        path.write_text("not a certificate")
    config = OtlpOptions.model_validate(
        {"protocol": kind, "endpoint": "https://localhost:1", "tls": {"ca_file": str(path)}}
    )
    exporter = OtlpExporter(config, BuildContext("otlp", logging.getLogger("test")))
    with pytest.raises(ConfigError, match="tls") as refused:
        await exporter.start()
    assert str(tmp_path) not in str(refused.value)
    await exporter.stop()


def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
