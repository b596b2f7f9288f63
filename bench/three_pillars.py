"""Metrics, logs and traces through one gateway into real backends: `python -m bench.three_pillars`.

configs/gateway.yaml without `log_sampling`, with Prometheus, VictoriaLogs and, in Jaeger's place, the sink of the other
benches, which knows every span. Prints CPU seconds per million items and resident memory of the gateway, for each
signal by itself and for all together, and whether all of it is in its backend. Everything is on this machine: the
figures that mean something are the gateway's own CPU seconds, not its latency beside two databases on the same cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench.backends import check_records, check_samples, count_samples
from bench.generator.clock import Moment
from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.generator.traffic import Shape, Traffic
from bench.ledger import SenderLedger, SinkLedger
from bench.processes import Measured, free_port
from bench.repetition import SinkProcess
from bench.report import host
from bench.truth import Truth, compare
from tests.servers.prometheus_server import Prometheus
from tests.servers.victoria_logs_server import VictoriaLogs

RESULTS = Path(__file__).with_name("results")
CONFIG = Path(__file__).parents[1] / "configs" / "gateway.yaml"
SIGNALS = ("metrics", "logs", "traces")
_SETTLE_S = 180.0
_ALWAYS_ZERO = (
    "butterfly_dead_lettered_items_total",
    'butterfly_filtered_items_total{pipeline="metrics',
    'butterfly_filtered_items_total{pipeline="logs',
    "butterfly_lost_items_total",
    "butterfly_log_lost_records_total",
    "butterfly_leaked_acks_total",
)
_SENDERS = 4


@dataclass(slots=True)
class Run:
    """One run. `items` by signal as they were acknowledged; CPU seconds of the gateway; bytes. `wrong`: why it doesn't
    count."""

    signals: str
    seconds: float
    items: dict[str, int]
    samples: float
    log_bytes: int
    cpu_seconds: float
    peak_rss: int
    ack_p50: float
    ack_p99: float
    settled_after: float
    wrong: list[str] = field(default_factory=list)

    @property
    def per_million(self) -> float:
        """CPU seconds per million items of all signals."""
        return self.cpu_seconds / max(1, sum(self.items.values())) * 1e6


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, the gateway's ports and its backends."""

    folder: Path
    listen: int
    admin: int
    prometheus: Prometheus
    victoria_logs: VictoriaLogs
    sink: SinkProcess

    def config(self) -> dict[str, Any]:
        """configs/gateway.yaml, here."""
        config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
        config["receivers"]["otlp"]["protocols"] = {"grpc": {"endpoint": f"127.0.0.1:{self.listen}"}}
        config["processors"]["pii_scrubber"]["pepper"] = "00112233445566778899aabbccddeeff"
        config["exporters"]["prometheus_remote_write"]["endpoint"] = self.prometheus.write_url
        config["exporters"]["loki"]["endpoint"] = self.victoria_logs.url
        config["exporters"]["jaeger"]["endpoint"] = f"127.0.0.1:{self.sink.port}"
        config["service"]["pipelines"]["logs/export"]["processors"].remove("log_sampling")  # all of them are looked for
        config["service"]["data_dir"] = str(self.folder / "data")
        config["service"]["telemetry"] = {"metrics": {"address": f"127.0.0.1:{self.admin}"}}
        return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of all signals together")
    parser.add_argument("--alone", type=float, default=20.0, help="seconds of each signal by itself; 0: not at all")
    parser.add_argument("--spans", type=float, default=10_000, help="a second")
    parser.add_argument("--samples", type=float, default=100_000, help="of Prometheus, a second")
    parser.add_argument("--log-bytes", type=float, default=1.2e6, help="of OTLP, a second")
    parser.add_argument("--series", type=int, default=10_000, help="of OTLP, at least")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="of the generated traffic")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    runs = []
    for signals, seconds in [*(((each,), options.alone) for each in SIGNALS), (SIGNALS, options.seconds)]:
        if seconds:
            runs.append(measure(signals, seconds, options))
            print(line(runs[-1]), flush=True)
    if all(not run.wrong for run in runs):
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}-three-pillars.json"
        rows = [asdict(run) | {"cpu_per_million": run.per_million} for run in runs]
        path.write_text(json.dumps({"host": host(), "options": vars(options), "rows": rows}, indent=1) + "\n")
        print(f"written: {path}")
    sys.exit(any(run.wrong for run in runs))


def line(run: Run) -> str:
    """For people."""
    items = ", ".join(f"{count:,} {signal}" for signal, count in run.items.items())
    return (
        f"{run.signals}: {items}; {run.samples / run.seconds:,.0f} samples/s, "
        f"{run.log_bytes / run.seconds / 1e6:.2f} MB/s of logs; {run.per_million:.2f} CPU-s/M items, "
        f"{run.cpu_seconds / run.seconds:.0%} of a core, {run.peak_rss >> 20} MiB, "
        f"ack p50/p99 {run.ack_p50 * 1e3:.0f}/{run.ack_p99 * 1e3:.0f} ms, settled after {run.settled_after:.1f} s: "
        f"{'; '.join(run.wrong) or 'nothing lost'}"
    )


def measure(signals: tuple[str, ...], seconds: float, options: argparse.Namespace) -> Run:
    """One run, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="butterfly-pillars-") as name:
        folder = Path(name)
        sink = SinkProcess(folder / "sink.ids")
        try:
            with Prometheus(folder / "prometheus") as prometheus, VictoriaLogs(folder / "logs") as victoria_logs:
                place = Place(folder, free_port(), free_port(), prometheus, victoria_logs, sink)
                return _measure(signals, seconds, options, place)
        finally:
            sink.close()


def _measure(signals: tuple[str, ...], seconds: float, options: argparse.Namespace, place: Place) -> Run:
    path = place.folder / "gateway.yaml"
    config = place.config()
    if "traces" not in signals:  # no exemplar's trace is ever decided, and none need be waited for
        config["processors"]["exemplar_linker"] = {"max_wait": "1s"}
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "collector", "run", "--no-screen", "-c", str(path)]
    with Measured(command, place.folder / "gateway.log") as gateway:
        gateway.wait_for_ready(f"http://127.0.0.1:{place.admin}/readyz")
        before = gateway.cpu_seconds()
        totals, ledger = _send(signals, seconds, options, place)
        ended = time.monotonic()
        troubles = _settle(place.admin, ended + _SETTLE_S)
        settled = time.monotonic() - ended
        cpu, rss = gateway.cpu_seconds() - before, gateway.peak_rss()
    traffic = Traffic(ledger.shape)
    run = Run(
        "+".join(signals),
        totals["seconds"],
        {each: counts["acked"] for each, counts in totals["signals"].items()},
        0.0,
        sum(traffic.logs.requests[request].size for _, request in ledger.logs) if traffic.logs else 0,
        cpu,
        rss,
        totals["ack_p50"],
        totals["ack_p99"],
        settled,
    )
    if totals["refused"] or totals["unknown"]:
        run.wrong.append(f"{totals['refused']} refused, {totals['unknown']} without an answer")
    run.wrong += troubles
    if "metrics" in signals:
        check = check_samples(place.prometheus, ledger, traffic)
        run.samples = check.found["samples"]
        run.wrong += [check.wrong] * bool(check.wrong)
    if "logs" in signals:
        check = check_records(place.victoria_logs, ledger, traffic)
        print("".join(f"records {each}\n" for each in check.examples), end="")
        run.wrong += [check.wrong] * bool(check.wrong)
    if "traces" in signals:
        truth = Truth(ledger.sent(traffic), slow_over=ledger.shape.mix.slow_over)
        report = compare(truth, SinkLedger.from_records(place.folder / "sink.ids"), confidence=0.999_999)
        run.wrong += [] if report.holds else report.lines()
    return run


def _send(
    signals: tuple[str, ...], seconds: float, options: argparse.Namespace, place: Place
) -> tuple[dict[str, Any], SenderLedger]:
    """The generator's totals and its ledger."""
    points, records = _rates(options)
    ledger = place.folder / "sent.jsonl"
    command = [sys.executable, "-m", "bench.generator", "--json", "--endpoint", f"127.0.0.1:{place.listen}"]
    command += ["--signals", ",".join(signals), "--rate", str(options.spans), "--duration", f"{seconds}s"]
    command += ["--metrics-rate", str(points), "--logs-rate", str(records), "--series", str(options.series)]
    command += ["--senders", str(_SENDERS), "--ledger", str(ledger), "--seed", str(options.seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        totals: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        raise RuntimeError(f"the generator failed: {done.stdout[-300:]}{done.stderr[-300:]}") from None
    return totals, SenderLedger.read(ledger)


def _rates(options: argparse.Namespace) -> tuple[float, float]:
    """Points and log records a second that come to the samples and bytes that are wanted."""
    traffic = Traffic(Shape(senders=_SENDERS, logs=LogShape(), metrics=MetricShape(series=options.series)))
    if traffic.metrics is None or traffic.logs is None:
        raise ValueError("no metrics or logs")
    ledger = SenderLedger(traffic.shape)
    ledger.clock.start(0, time.time_ns(), 10**9)
    moment = Moment(0, 0, 0, time.time_ns())
    requests = traffic.metrics.requests
    samples = sum(count_samples(each.encode(moment, None, ledger.clock)) for each in requests)
    points = options.samples * sum(map(len, requests)) / samples
    size = sum(each.size for each in traffic.logs.requests) / traffic.logs.records
    return points, options.log_bytes / size


def _settle(admin: int, give_up: float) -> list[str]:
    """Wait until nothing is held and everything in the log is done with. What is wrong then."""
    while True:
        values, troubles = _page(admin)
        held = values["butterfly_held_items"]
        open_records = values["butterfly_log_end"] - values["butterfly_log_committed"]
        if not held and not open_records:
            return troubles
        if time.monotonic() > give_up:
            return [*troubles, f"{held:,.0f} items and {open_records:,.0f} records were left after {_SETTLE_S:.0f} s"]
        time.sleep(0.2)


def _page(admin: int) -> tuple[dict[str, float], list[str]]:
    """The gateway's metrics, each summed over its labels, and those that should be 0 and aren't."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as reply:
        lines = [text for text in reply.read().decode().splitlines() if not text.startswith("#")]
    values: dict[str, float] = {}
    for text in lines:
        name, value = text.rsplit(" ", 1)
        values[name.partition("{")[0]] = values.get(name.partition("{")[0], 0.0) + float(value)
    return values, [text for text in lines if text.startswith(_ALWAYS_ZERO) and not text.endswith(" 0.0")]


if __name__ == "__main__":
    main()
