"""The OpenTelemetry Collector with contrib's tail sampler, built here by its own builder.

python -m bench.peers.collector      builds it (some minutes), into the cache outside the checkout
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers import CACHE, alone

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.peers import Place
    from bench.processes import Together
    from bench.rows import Row

VERSION = "0.159.0"
MANIFEST = Path(__file__).with_name("collector_manifest.yaml")
HOME = CACHE / f"collector-{VERSION}"
BINARY = HOME / "otelcol-bench"

_SAMPLER = {
    "num_traces": 2_000_000,
    "policies": [
        {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "slow", "type": "latency", "latency": {"threshold_ms": 5000}},
        {
            "name": "byzantine",
            "type": "ottl_condition",
            "ottl_condition": {
                "error_mode": "ignore",
                "span": [
                    'attributes["butterfly.byzantine.fault_type"] != nil',
                    'attributes["butterfly.byzantine.detected"] == true',
                    'attributes["butterfly.verification.result"] == "failed"',
                ],
                "spanevent": ['name == "byzantine.fault_detected"', 'name == "byzantine.verification_failed"'],
            },
        },
        {"name": "ordinary", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
    ],
}


_REDACTION = {
    "allow_all_keys": True,
    "blocked_key_patterns": [r"^(user\.(id|email|name)|enduser\.id|client\.address|llm\.prompt)$"],
    "blocked_values": [
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
        r"\b(?:[0-9]{4}[ -]?){3}[0-9]{1,4}\b",
        r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b",
    ],
}
"""What comes closest to our scrubber's preset in its own terms; it finds less."""


class Collector:
    """A Go gateway; `full` is its persistent sending queue before the same tail sampler."""

    name = "collector"

    def missing(self) -> str | None:
        return None if BINARY.exists() else "not built: python -m bench.peers.collector (needs Go)"

    def plays(self, row: Row) -> Row | None:
        return row if row.workload != "kafka" else None

    def running(self, row: Row, place: Place, core: int) -> AbstractContextManager[Together]:
        return alone(self.command(row, place), place, core)

    def command(self, row: Row, place: Place) -> list[str]:
        path = place.directory / "collector.yaml"
        path.write_text(json.dumps(self.config(row, place), indent=1))
        return [str(BINARY), "--config", str(path)]

    @staticmethod
    def config(row: Row, place: Place) -> dict[str, Any]:
        """The workload's pipeline. Its queue stands behind the sampler: it has no buffer before it."""
        exporter: dict[str, Any] = {
            "endpoint": f"127.0.0.1:{place.sink}",
            "tls": {"insecure": True},
            "compression": "gzip",
        }
        config: dict[str, Any] = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{place.listen}"}}}},
            "processors": {"batch": {"send_batch_size": 8192}},
            "exporters": {"otlp_grpc": exporter},
        }
        processors, out = ["batch"], "otlp_grpc"
        if row.workload == "null":
            config["exporters"], processors, out = {"nop": {}}, [], "nop"
        elif row.wait:
            config["processors"]["tail_sampling"] = {**_SAMPLER, "decision_wait": f"{row.wait:g}s"}
            processors = ["tail_sampling", "batch"]
        service: dict[str, Any] = {"telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}}}
        if row.workload == "full":
            config["processors"]["redaction"] = _REDACTION
            processors.insert(0, "redaction")
        if row.workload in {"full", "full-no-pii"}:
            storage = place.directory / "storage"
            storage.mkdir()
            config["extensions"] = {"file_storage": {"directory": str(storage), "fsync": True}}
            exporter["sending_queue"] = {"enabled": True, "storage": "file_storage"}
            service["extensions"] = ["file_storage"]
        service["pipelines"] = {"traces": {"receivers": ["otlp"], "processors": processors, "exporters": [out]}}
        return {**config, "service": service}


def build() -> None:
    """Build the Collector from Go modules into the cache. Raises `CalledProcessError`, or `OSError` without Go."""
    HOME.mkdir(parents=True, exist_ok=True)
    if shutil.which("go") is None:
        raise FileNotFoundError("Go is not installed")
    manifest = HOME / "manifest.yaml"
    text = MANIFEST.read_text()
    manifest.write_text(text.replace("\ndist:\n", f"\ndist:\n  output_path: {HOME}\n", 1))
    environment = {**os.environ, "GOBIN": str(CACHE / "bin")}
    tool = f"go.opentelemetry.io/collector/cmd/builder@v{VERSION}"
    subprocess.run(["nice", "go", "install", tool], env=environment, check=True)
    subprocess.run(["nice", str(CACHE / "bin" / "builder"), "--config", str(manifest)], env=environment, check=True)


if __name__ == "__main__":
    build()
    print(BINARY)
