"""How fast a sampler works off what waits in Kafka: `python -m bench.catch_up`.

Writes a backlog through an ingest process, then starts a sampler on it, with and without memory for the second reading,
each time in a consumer group of its own. Prints the time until the head has seen all (a restart or a rebalance costs
that for one `decision_wait` of records), and CPU seconds per million spans until everything is settled.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.peers import Place
from bench.peers.butterfly import Butterfly
from bench.peers.kafka_tiers import run
from bench.processes import Measured, free_port
from bench.repetition import PROGRAM_CORE, SinkProcess, generate
from bench.rows import Row
from tests.servers.kafka_cluster import KafkaCluster

WITHIN_S = 300.0
_METRIC = re.compile(r"^butterfly_log_(head|committed|end)\{.*\} (\S+)$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of writing the backlog, as fast as it goes")
    parser.add_argument("--recent", nargs="+", default=["0", "2GiB"], help="values of recent_bytes")
    parser.add_argument("--repetitions", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="butterfly-catch-up-") as name:
        _measure(Path(name), options.seconds, options.recent, options.repetitions)


def _measure(folder: Path, seconds: float, recent: list[str], repetitions: int) -> None:
    sink = SinkProcess(folder / "sink.ids")
    try:
        with KafkaCluster(folder / "kafka") as broker:
            place = Place(folder, free_port(), sink.port, free_port())
            config = Butterfly.config(Row("kafka", 500, wait=2), place)
            config["connectors"]["kafka"]["brokers"] = broker.bootstrap
            spans = _backlog(config, place, seconds)
            print(f"{spans:,} spans wait")
            for number in range(repetitions):
                for value in recent:
                    _work_off(config, place, spans, value, number)
    finally:
        sink.close()


def _backlog(config: dict[str, Any], place: Place, seconds: float) -> int:
    path = _file(config, place, "ingest")
    with Measured(run(path, "--pipelines", "traces/ingest"), place.directory / "ingest.log", core=None) as ingest:
        ingest.wait_for_port(place.listen)
        totals, _ = generate(Row("kafka", 500), place.listen, seconds, place.directory / "sent.jsonl", 1)
        return int(totals["acked"])


def _work_off(config: dict[str, Any], place: Place, spans: int, recent: str, number: int) -> None:
    own = copy.deepcopy(config)
    mark = f"{recent}-{number}"
    own["connectors"]["kafka"] |= {"group_id": mark, "decisions_topic": f"decisions-{mark}", "recent_bytes": recent}
    path = _file(own, place, mark)
    log = place.directory / f"{mark}.log"
    with Measured(run(path, "--pipelines", "traces/sample"), log, core=PROGRAM_CORE) as sampler:
        sampler.wait_for_ready(f"http://127.0.0.1:{place.spare}/readyz")
        started, cpu, seen = time.monotonic(), sampler.cpu_seconds(), 0.0
        while time.monotonic() - started < WITHIN_S:
            at = _positions(place.spare)
            if not seen and at["end"] and at["head"] >= at["end"]:
                seen = time.monotonic() - started
            if at["end"] and at["committed"] >= at["end"]:
                break
            time.sleep(0.05)
        per_million = (sampler.cpu_seconds() - cpu) / spans * 1e6
        print(
            f"recent_bytes {recent:>6}: head at the end after {seen:.1f} s ({spans / max(seen, 0.01):,.0f} spans/s), "
            f"{per_million:.2f} CPU-s/M in all, {sampler.peak_rss() >> 20} MiB"
        )


def _positions(port: int) -> dict[str, float]:
    """Sums over the partitions."""
    sums = dict.fromkeys(("head", "committed", "end"), 0.0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        for which, value in _METRIC.findall(reply.read().decode()):
            sums[which] += float(value)
    return sums


def _file(config: dict[str, Any], place: Place, mark: str) -> Path:
    """The configuration under a name of its own, its topics made."""
    own = copy.deepcopy(config)
    own["service"]["data_dir"] = str(place.directory / f"data-{mark}")
    path = place.directory / f"{mark}.yaml"
    path.write_text(json.dumps(own, indent=1))
    init = [sys.executable, "-m", "collector", "kafka", "init", "-c", str(path)]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
    return path


if __name__ == "__main__":
    main()
