"""The admin listener, on localhost by default: `/metrics`, `/livez`, `/readyz`, `/startupz`, `/why/<trace id>` and
`/report/<component>`."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from collector.http_connection import HttpConnections

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from collector.graph.graph import Graph

_CONNECTIONS = 128
_HEADER_SECONDS = 5.0
_IDLE_SECONDS = 75.0
"""Longer than the minute between the scrapes of most, so that they keep their connection."""

_WHY = re.compile(r"/why/([0-9a-fA-F]{32})")
_REPORT = re.compile(r"/report/([A-Za-z0-9_]{1,63}(?:/[!-~]{1,255})?)")
_ALLOWED = ("GET", "HEAD")


class AdminServer:
    """Serves what an operator asks. Replies hold no telemetry but the trace ID that was asked for and what a component
    reports of names, and nothing of a request that isn't understood; neither does the log.
    """

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._registry = registry
        self._runner: web.ServerRunner | None = None
        self._pages: dict[str, Callable[[], web.Response]] = {
            "/metrics": self._metrics,
            "/livez": self._live,
            "/readyz": self._ready,
            "/startupz": self._started,
        }
        self.graph: Graph | None = None
        """The graph that runs now; None while the gateway starts or stops."""

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address is taken."""
        server = HttpConnections(
            self._serve,
            refuse=_refused,
            most=_CONNECTIONS,
            header_timeout=_HEADER_SECONDS,
            log=logging.getLogger("butterfly.admin"),
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=1.0,
        )
        self._runner = web.ServerRunner(server)
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

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        response = self._page(request)
        response.headers["Server"] = "butterfly"
        return response

    def _page(self, request: web.BaseRequest) -> web.Response:
        page = self._pages.get(request.path)
        asked = _WHY.fullmatch(request.path)
        if page is None and asked is not None:
            page = partial(self._why, bytes.fromhex(asked[1]))
        wanted = _REPORT.fullmatch(request.path)
        if page is None and wanted is not None:
            page = self._report_of(wanted[1])
        if page is None:
            return web.Response(text="nothing is served at this path\n", status=404)
        if request.method not in _ALLOWED:
            return web.Response(text="ask with GET\n", status=405, headers={"Allow": ", ".join(_ALLOWED)})
        return page()

    def _metrics(self) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _live(self) -> web.Response:
        return web.Response(text="ok\n")

    def _started(self) -> web.Response:
        return _answer([] if self.graph is not None else ["starting"])

    def _ready(self) -> web.Response:
        return _answer(self.graph.not_ready() if self.graph is not None else ["starting"])

    def _report_of(self, component: str) -> Callable[[], web.Response] | None:
        reports = self.graph.reports(component) if self.graph is not None else []
        return partial(web.json_response, {"component": component, "reports": reports}) if reports else None

    def _why(self, trace_id: bytes) -> web.Response:
        found = []
        for _, runner in self.graph.runners() if self.graph is not None else ():
            if runner.head is not None and (verdict := runner.head.processor.explain(trace_id)) is not None:
                found.append({"pipeline": runner.account.pipeline, "processor": runner.head.processor.id, **verdict})
        return web.json_response({"trace_id": trace_id.hex(), "verdicts": found}, status=200 if found else 404)


def _answer(reasons: list[str]) -> web.Response:
    return web.Response(text="\n".join([*reasons, ""]) if reasons else "ok\n", status=503 if reasons else 200)


def _refused(status: int) -> web.Response:
    text = "this is not an HTTP/1.1 request that this server takes" if status < 500 else "internal error"
    return web.Response(text=f"{text}\n", status=status, headers={"Server": "butterfly"})
