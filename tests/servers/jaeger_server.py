"""A real Jaeger 2 for a test: all in one process, spans in memory, free localhost ports."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers.backend import Backend, built
from tests.servers.process import free_ports

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
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{otlp}"{tls}}}}}}}}}
exporters: {{jaeger_storage_exporter: {{trace_storage: mem}}}}
"""


class Jaeger(Backend):
    """OTLP over gRPC at the port `otlp`, encrypted with `tls`: PEM files of a certificate, of its key, and of the
    authority whose clients it takes. What it stored is gone with its process."""

    _health = "/api/v3/services"
    _environment = {"OTEL_TRACES_SAMPLER": "always_off"}  # noqa: RUF012 - it would trace itself to localhost:4317

    def __init__(self, folder: Path, *, tls: tuple[Path, Path, Path] | None = None) -> None:
        super().__init__("jaeger", folder)
        self._program = built("jaeger")
        self.otlp, query, query_grpc = free_ports(3)
        self._url = f"http://127.0.0.1:{query}"
        files = dict(zip(("cert_file", "key_file", "client_ca_file"), map(str, tls or ()), strict=False))
        options = f", tls: {json.dumps(files)}" if files else ""
        config = _CONFIG.format(otlp=self.otlp, query=query, query_grpc=query_grpc, tls=options)
        (folder / "jaeger.yaml").write_text(config)

    def _command(self) -> list[str | Path]:
        return [self._program, "--config", self.folder / "jaeger.yaml"]

    def trace(self, trace_id: str, spans: int, within: float = 10) -> list[dict[str, Any]]:
        """`ResourceSpans` of a trace in JSON, when it has at least `spans` spans. Raises `TimeoutError`."""
        deadline = time.monotonic() + within
        while True:
            resources = self.stored(trace_id)
            if sum(len(scope["spans"]) for each in resources for scope in each["scopeSpans"]) >= spans:
                return resources
            if time.monotonic() > deadline:
                raise TimeoutError(f"trace {trace_id} has not {spans} spans within {within} s")
            time.sleep(0.05)

    def stored(self, trace_id: str) -> list[dict[str, Any]]:
        """`ResourceSpans` of a trace as far as Jaeger has it now; empty where it has nothing."""
        try:
            with urllib.request.urlopen(f"{self._url}/api/v3/traces/{trace_id}", timeout=20) as reply:
                return json.loads(reply.read()).get("result", {}).get("resourceSpans", [])
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return []
            raise
