"""A real Jaeger 2 for a test: all in one process, spans in memory, free localhost ports."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest

_CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}}}
extensions:
  jaeger_storage: {{backends: {{mem: {{memory: {{max_traces: 100000}}}}}}}}
  jaeger_query:
    storage: {{traces: mem}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{query_grpc}"}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
exporters: {{jaeger_storage_exporter: {{trace_storage: mem}}}}
"""


def jaeger_binary() -> Path:
    """The built program; skips the test when there is none, or fails it where servers are required."""
    path = Path(__file__).parents[1] / "servers" / "build.py"
    spec = importlib.util.spec_from_file_location("servers_build", path)
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    binary = servers.binary("jaeger")
    if not binary.exists():
        reason = "Jaeger is not built: python tests/servers/build.py jaeger"
        if os.environ.get("BUTTERFLY_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return binary


class Jaeger:
    """One running Jaeger."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self.otlp, self.query, query_grpc = _free_ports(3)
        (folder / "jaeger.yaml").write_text(_CONFIG.format(otlp=self.otlp, query=self.query, query_grpc=query_grpc))

    def start(self) -> None:
        """Start the process; `ready` waits for it."""
        quiet = {**os.environ, "OTEL_TRACES_SAMPLER": "always_off"}  # it would trace itself to localhost:4317
        with (self._folder / "jaeger.log").open("ab") as log:
            command = [self._binary, "--config", self._folder / "jaeger.yaml"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet)

    async def ready(self, within: float = 20) -> None:
        """Return when the query API answers."""
        async with asyncio.timeout(within), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self.query}/api/v3/services") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        """End the process; what it stored is gone."""
        self._process.terminate()
        self._process.wait(20)

    async def trace(self, trace_id: str, spans: int, within: float = 10) -> list[dict]:
        """`ResourceSpans` of a trace in JSON, when it has at least `spans` spans."""
        async with asyncio.timeout(within), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"http://127.0.0.1:{self.query}/api/v3/traces/{trace_id}") as answer:
                    # Jaeger names no content type.
                    found = await answer.json(content_type=None) if answer.status == 200 else {}
                resources = found.get("result", {}).get("resourceSpans", [])
                if sum(len(scope["spans"]) for each in resources for scope in each["scopeSpans"]) >= spans:
                    return resources
                await asyncio.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
