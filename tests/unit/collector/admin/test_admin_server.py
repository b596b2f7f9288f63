"""What an operator is served: every page, what it says in each state, and nothing that nobody asked for."""

import asyncio
import json
import logging
from types import SimpleNamespace

import aiohttp
import pytest

from collector.admin.server import AdminServer
from collector.telemetry.exposition import LedgerExposition
from collector.telemetry.ledger import Ledger
from collector.telemetry.meter import Meter

TRACE = "0102030405060708090a0b0c0d0e0f10"


class Processor:
    id = "tail_sampling"

    def __init__(self, verdicts):
        self.verdicts = verdicts

    def explain(self, trace_id):
        return self.verdicts.get(trace_id)


class Graph:
    def __init__(self, *verdicts, reasons=()):
        self.reasons = list(reasons)
        self.verdicts = verdicts

    def not_ready(self):
        return self.reasons

    def reports(self, component):
        return [{"from": "metrics", "series": 7}] if component in ("limiter", "limiter/b") else []

    def runners(self):
        yield "plain", SimpleNamespace(head=None)
        for number, known in enumerate(self.verdicts):
            account = SimpleNamespace(pipeline=f"traces/{number}")
            yield "disk", SimpleNamespace(account=account, head=SimpleNamespace(processor=Processor(known)))


@pytest.fixture
async def admin():
    meter, ledger = Meter(), Ledger()
    ledger.account("traces/in").accept(7)
    meter.registry.register(LedgerExposition(ledger))
    server = AdminServer("127.0.0.1:0", meter.registry)
    await server.start()
    async with aiohttp.ClientSession() as session:

        async def get(path, method="GET"):
            async with session.request(method, f"http://127.0.0.1:{server.port}{path}") as reply:
                return reply.status, await reply.text(), reply.headers["Content-Type"]

        server.get = get
        yield server
    await server.stop()


async def test_alive_whatever_runs(admin):
    assert (await admin.get("/livez"))[:2] == (200, "ok\n")
    admin.graph = Graph(reasons=["disk: the disk is full"])
    assert (await admin.get("/livez"))[:2] == (200, "ok\n")


@pytest.mark.parametrize("page", ["/readyz", "/startupz"])
async def test_while_it_starts_it_says_so(admin, page):
    assert (await admin.get(page))[:2] == (503, "starting\n")
    admin.graph = Graph()
    assert (await admin.get(page))[:2] == (200, "ok\n")


async def test_not_ready_says_why_a_line_a_reason(admin):
    admin.graph = Graph(reasons=["disk: the disk is full", "disk/b: the log is full"])
    status, text, kind = await admin.get("/readyz")
    assert (status, text) == (503, "disk: the disk is full\ndisk/b: the log is full\n")
    assert kind.startswith("text/plain")
    assert (await admin.get("/startupz"))[0] == 200  # started all the same


async def test_metrics_are_prometheus_text(admin):
    status, text, kind = await admin.get("/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert 'butterfly_accepted_items_total{pipeline="traces/in"} 7.0\n' in text


async def test_why_tells_every_verdict_and_nothing_but_the_asked_id(admin):
    first = {"state": "sampled", "policy": "errors"}
    second = {"state": "not_sampled", "policy": "none"}
    other = bytes(16)
    asked = bytes.fromhex(TRACE)
    admin.graph = Graph({asked: first, other: second}, {asked: second})
    status, text, kind = await admin.get(f"/why/{TRACE}")
    assert (status, kind) == (200, "application/json; charset=utf-8")
    assert json.loads(text) == {
        "trace_id": TRACE,
        "verdicts": [
            {"pipeline": "traces/0", "processor": "tail_sampling", **first},
            {"pipeline": "traces/1", "processor": "tail_sampling", **second},
        ],
    }
    assert other.hex() not in text


async def test_why_takes_an_id_in_either_case(admin):
    admin.graph = Graph({bytes.fromhex(TRACE): {"state": "open"}})
    assert json.loads((await admin.get(f"/why/{TRACE.upper()}"))[1])["trace_id"] == TRACE


async def test_an_id_that_nobody_knows_is_404_with_no_verdict(admin):
    for graph in (None, Graph(), Graph({})):
        admin.graph = graph
        status, text, _ = await admin.get(f"/why/{TRACE}")
        assert (status, json.loads(text)) == (404, {"trace_id": TRACE, "verdicts": []})


@pytest.mark.parametrize("component", ["limiter", "limiter/b"])
async def test_a_report_is_what_the_component_tells(admin, component):
    assert (await admin.get(f"/report/{component}"))[0] == 404
    admin.graph = Graph()
    status, text, kind = await admin.get(f"/report/{component}")
    assert (status, kind) == (200, "application/json; charset=utf-8")
    assert json.loads(text) == {"component": component, "reports": [{"from": "metrics", "series": 7}]}


@pytest.mark.parametrize(
    "path",
    [
        "/report/",
        "/report/other",
        "/report/limiter/",
        "/report/limiter/b%0d",
        "/why/",
        "/why/abc",
        f"/why/{TRACE}0",
        f"/why/{TRACE[:-1]}g",
        f"/why/{TRACE}/x",
        "/why/%0d%0aX: y",
        "/",
        "/metrics/x",
    ],
)
async def test_anything_else_is_404_and_quotes_nothing(admin, path):
    admin.graph = Graph({bytes.fromhex(TRACE): {"state": "open"}})
    status, text, _ = await admin.get(path)
    assert (status, text) == (404, "nothing is served at this path\n")


@pytest.mark.parametrize("page", ["/metrics", "/livez", "/readyz", f"/why/{TRACE}"])
async def test_nothing_can_be_written(admin, page):
    assert (await admin.get(page, "POST"))[0] == 405


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("localhost:8888", "localhost", 8888),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:9", "::1", 9),
        ("[::]:65535", "::", 65535),
        ("::1:80", "::1", 80),
    ],
)
def test_the_address_is_taken_apart(address, host, port):
    server = AdminServer(address, Meter().registry)
    assert (server._host, server.port) == (host, port)


async def test_an_ipv6_address_is_listened_on():
    server = AdminServer("[::1]:0", Meter().registry)
    try:
        await server.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with aiohttp.ClientSession() as session, session.get(f"http://[::1]:{server.port}/livez") as reply:
        assert reply.status == 200
    await server.stop()


async def test_an_address_in_use_is_an_error():
    first = AdminServer("127.0.0.1:0", Meter().registry)
    await first.start()
    second = AdminServer(f"127.0.0.1:{first.port}", Meter().registry)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()
    await first.stop()


async def test_stopping_what_never_started_is_no_error():
    await AdminServer("127.0.0.1:0", Meter().registry).stop()


SECRET = b"hunter2-secret"


@pytest.mark.parametrize(
    "asked",
    [
        SECRET + b"\r\n\r\n",
        b"GET /" + SECRET + b" HTTP/9.x\r\n\r\n",
        b"GET /" + SECRET * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + SECRET * 1000 + b"\r\n\r\n",
        b"GET http://[::" + SECRET + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + SECRET + b"%0d%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["text", "version", "path", "header", "url", "CRLF", "length"],
)
async def test_nothing_of_a_bad_request_is_quoted(admin, caplog, asked):
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    writer.write(asked)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.split(b" ")[1] in {b"400", b"404"}
    for leak in (b"hunter", b"aiohttp", b"Python", b"Length"):
        assert leak not in answer.replace(b"Content-Length", b"")
    assert caplog.records == []


async def test_a_page_that_breaks_quotes_nothing(admin, caplog):
    caplog.set_level(logging.INFO)
    admin.graph = SimpleNamespace()
    assert (await admin.get("/readyz"))[:2] == (500, "internal error\n")
    assert caplog.records == []


async def test_those_who_say_nothing_keep_nobody_out(admin):
    silent = [await asyncio.open_connection("127.0.0.1", admin.port) for _ in range(200)]
    assert (await admin.get("/livez"))[0] == 200
    for _, writer in silent:
        writer.close()
