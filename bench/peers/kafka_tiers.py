"""Ours through Kafka: an ingest and a sampler process, and a real broker beside them that isn't measured."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from bench.processes import Measured, Together, free_port
from tests.servers.kafka_cluster import KafkaCluster, KafkaMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.peers import Place

TIERS = {"ingest": "traces/ingest", "sampler": "traces/sample"}


def run(path: Path, *arguments: str) -> list[str]:
    """The command that runs a configuration."""
    return [sys.executable, "-m", "collector", "run", "-c", str(path), "--no-screen", *arguments]


@contextmanager
def two_tiers(config: dict[str, Any], place: Place, core: int) -> Iterator[Together]:
    """Start a broker on the other cores, make the topics, start both tiers on `core`."""
    with ExitStack() as stack:
        try:
            broker = KafkaCluster(place.directory / "kafka")
            stack.enter_context(broker)
        except KafkaMissingError as reason:
            raise RuntimeError(str(reason)) from None
        others = os.sched_getaffinity(0) - {core}
        if others:
            os.sched_setaffinity(broker.pid(), others)
        config["connectors"]["kafka"]["brokers"] = broker.bootstrap
        files = {name: _tier(name, config, place) for name in TIERS}
        init = [sys.executable, "-m", "collector", "kafka", "init", "-c", str(files["ingest"][0])]
        made = subprocess.run(init, capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"the topics could not be made: {made.stderr[-200:]}")
        tiers = {}
        for name, (path, port) in files.items():
            command = run(path, "--pipelines", TIERS[name])
            tier = stack.enter_context(Measured(command, place.directory / f"{name}.log", core=core))
            tier.wait_for_ready(f"http://127.0.0.1:{port}/readyz")
            tiers[name] = tier
        yield Together(tiers)


def _tier(name: str, config: dict[str, Any], place: Place) -> tuple[Path, int]:
    """One tier's file (the same but for where its admin page and its data are), and the port of that page."""
    own = copy.deepcopy(config)
    port = place.spare if name == "ingest" else free_port()
    own["service"]["telemetry"]["metrics"]["address"] = f"127.0.0.1:{port}"
    own["service"]["data_dir"] = str(place.directory / f"data-{name}")
    path = place.directory / f"{name}.yaml"
    path.write_text(json.dumps(own, indent=1))
    return path, port
