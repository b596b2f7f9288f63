"""What an operator is served: every page, what it says in each state, and nothing that nobody asked for."""

import json
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

    def runners(self):
        yield "plain", SimpleNamespace(head=None)
        for known in self.verdicts:
            yield "disk", SimpleNamespace(head=SimpleNamespace(processor=Processor(known)))


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
        "verdicts": [{"processor": "tail_sampling", **first}, {"processor": "tail_sampling", **second}],
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


@pytest.mark.parametrize(
    "path",
    [
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
    assert (status, text) == (404, "404: Not Found")


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
