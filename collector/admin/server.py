"""The admin listener: `/metrics`, `/livez`, `/readyz`, `/startupz`, `/why/<trace id>`; localhost by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from collector.graph.graph import Graph


class AdminServer:
    """Serves what an operator asks. Replies hold no telemetry but the trace ID that was asked for."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self.graph: Graph | None = None
        """The graph that runs now; None while the gateway starts or stops."""

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/startupz", self._started),
                web.get("/why/{trace_id:[0-9a-fA-F]{32}}", self._why),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Close the listener."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        """The port that is listened on, also where the configuration asked for any (0)."""
        if self._runner is None:
            return self._port
        return int(self._runner.addresses[0][1])

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _live(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _started(self, _request: web.Request) -> web.Response:
        return _answer([] if self.graph is not None else ["starting"])

    async def _ready(self, _request: web.Request) -> web.Response:
        return _answer(self.graph.not_ready() if self.graph is not None else ["starting"])

    async def _why(self, request: web.Request) -> web.Response:
        trace_id = bytes.fromhex(request.match_info["trace_id"])
        found = []
        for _, runner in self.graph.runners() if self.graph is not None else ():
            if runner.head is not None and (verdict := runner.head.processor.explain(trace_id)) is not None:
                found.append({"processor": runner.head.processor.id, **verdict})
        return web.json_response({"trace_id": trace_id.hex(), "verdicts": found}, status=200 if found else 404)


def _answer(reasons: list[str]) -> web.Response:
    return web.Response(text="\n".join([*reasons, ""]) if reasons else "ok\n", status=503 if reasons else 200)
