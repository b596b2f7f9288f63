"""Ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.peers import alone
from bench.peers.kafka_tiers import run, two_tiers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.peers import Place
    from bench.processes import Together
    from bench.rows import Row

POLICIES = [
    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 5000}},
    {"name": "byzantine", "type": "byzantine"},
    {"name": "ordinary", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
]


class Butterfly:
    """The gateway of this checkout, started as users start it."""

    name = "butterfly"

    def missing(self) -> str | None:
        return None

    def plays(self, row: Row) -> Row | None:
        return row

    def running(self, row: Row, place: Place, core: int) -> AbstractContextManager[Together]:
        if row.workload != "kafka":
            return alone(self.command(row, place), place, core)
        return two_tiers(self.config(row, place), place, core)

    def command(self, row: Row, place: Place) -> list[str]:
        path = place.directory / "butterfly.yaml"
        path.write_text(json.dumps(self.config(row, place), indent=1))  # JSON is YAML
        return run(path)

    @staticmethod
    def config(row: Row, place: Place) -> dict[str, Any]:
        """The workload's pipelines."""
        out = "debug" if row.workload == "null" else "otlp"
        exporters: dict[str, Any] = {
            "debug": {"verbosity": "none"},
            "otlp": {"endpoint": f"127.0.0.1:{place.sink}", "tls": {"insecure": True}, "compression": "gzip"},
        }
        config: dict[str, Any] = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{place.listen}"}}}},
            "exporters": {out: exporters[out]},
        }
        sampler = {"tail_sampling": {"decision_wait": f"{row.wait:g}s", "policies": POLICIES}}
        if row.workload in {"null", "pass"}:
            pipelines = {"traces": {"receivers": ["otlp"], "exporters": [out]}}
        elif row.workload == "tail":
            config["processors"] = sampler
            pipelines = {"traces": {"receivers": ["otlp"], "processors": ["tail_sampling"], "exporters": [out]}}
        else:
            buffer = "kafka" if row.workload == "kafka" else "disk"
            scrubber = {"pii_scrubber": {"ephemeral_pepper": True}} if row.workload == "full" else {}
            config["processors"] = sampler | scrubber
            config["connectors"] = {buffer: {}}
            pipelines = {
                "traces/ingest": {"receivers": ["otlp"], "processors": [*scrubber], "exporters": [buffer]},
                "traces/sample": {"receivers": [buffer], "processors": ["tail_sampling"], "exporters": [out]},
            }
        config["service"] = {
            "pipelines": pipelines,
            # The whole wait is held at saturation too: deciding early would be less work than the peer does.
            "lookahead_memory": "2GiB",
            "data_dir": str(place.directory / "data"),
            "telemetry": {"metrics": {"address": f"127.0.0.1:{place.spare}"}},
        }
        return config
