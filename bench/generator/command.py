"""`butterfly generate`: the command line of the generator."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.generator.display import introduction, shown, summary, totals
from bench.generator.runner import Pace, Runner
from bench.generator.traces import Mix
from bench.generator.traffic import DEFAULT_SPANS, Shape, Traffic
from bench.generator.transport import connect
from bench.ledger import SenderLedger
from bench.truth import Truth

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 24 * 3600.0


class Seconds(click.ParamType[float]):
    """`90`, `90s`, `1m30s`, `1h`: seconds as a float, at most a day."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        if re.fullmatch(r"\d+(\.\d+)?", value):
            value += "s"
        if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", value):
            self.fail(f"{value!r} is not a duration such as 90s, 1m30s or 1h", param, ctx)
        total = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)(ms|s|m|h)", value))
        if not 0 < total <= _LONGEST:
            self.fail("a duration must be above 0 and at most 24h", param, ctx)
        return total


SECONDS = Seconds()
_SHARE = click.FloatRange(0, 1)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--endpoint", default=None, help="host:port  [default: localhost:4317; with http localhost:4318]")
@click.option("--protocol", type=click.Choice(["grpc", "http"]), default="grpc", show_default=True)
@click.option("--gzip", "compress", is_flag=True, help="Compress requests.")
@click.option(
    "--rate", type=click.FloatRange(0), default=10_000, show_default=True, help="Spans a second; 0: no limit."
)
@click.option("--duration", type=SECONDS, default="60s", show_default=True, help="Length of the run, 24h at most.")
@click.option("--spans", type=click.IntRange(1), default=None, help="End the run after so many spans.")
@click.option("--senders", type=click.IntRange(1, 1000), default=8, show_default=True, help="Nodes, a connection each.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Spans a request.")
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Requests a sender may have open.",
)
@click.option("--timeout", type=SECONDS, default="10s", show_default=True, help="Deadline of one attempt.")
@click.option("--retry-for", type=SECONDS, default="60s", show_default=True, help="Then a request is given up.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Same seed, same ids.  [default: from the clock]")
@click.option(
    "--cycle",
    type=click.IntRange(1),
    default=DEFAULT_SPANS,
    show_default=True,
    help="Spans that are pre-built and replayed.",
)
@click.option("--errors", type=_SHARE, default=0.03, show_default=True, help="Share of traces with an error.")
@click.option("--slow", type=_SHARE, default=0.02, show_default=True, help="Share of slow traces.")
@click.option("--slow-over", type=SECONDS, default="5s", show_default=True, help="What counts as slow.")
@click.option("--byzantine", type=_SHARE, default=0.01, show_default=True, help="Share of traces with a fault.")
@click.option("--out-of-order", type=_SHARE, default=0.05, show_default=True, help="Share of spans.")
@click.option("--late", type=_SHARE, default=0.01, show_default=True, help="Share of spans, one or two batches late.")
@click.option(
    "--very-late", type=_SHARE, default=0.0, show_default=True, help="Share of spans, held back by --late-by."
)
@click.option("--late-by", type=SECONDS, default="15s", show_default=True, help="How long.")
@click.option("--ledger", "ledger_file", type=_FILE, help="Write what became of each request, for bench.truth.")
@click.option("--truth", "truth_file", type=_FILE, help="Write a JSON line a trace: must it be kept, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON object.")
@click.option("--quiet", is_flag=True, help="Print nothing but the summary.")
def generate(**options: Any) -> None:
    """Send Butterfly's own traffic, made up, to an OTLP endpoint."""
    seed = options["seed"] if options["seed"] is not None else time.time_ns() % 10**9
    mix = Mix(
        errors=options["errors"],
        slow=options["slow"],
        byzantine=options["byzantine"],
        out_of_order=options["out_of_order"],
        late=options["late"],
        very_late=options["very_late"],
        slow_over=options["slow_over"],
    )
    shape = Shape(seed=seed, senders=options["senders"], batch=options["batch"], spans=options["cycle"], mix=mix)
    traffic = Traffic(shape)
    pace = Pace(
        rate=options["rate"],
        duration=options["duration"],
        spans=options["spans"],
        in_flight=options["in_flight"],
        late_by=options["late_by"],
        retry_for=options["retry_for"],
    )
    ledger = SenderLedger(shape) if options["ledger_file"] or options["truth_file"] else None
    console = Console()
    transports = connect(
        options["protocol"],
        options["endpoint"],
        shape.senders,
        timeout=options["timeout"],
        compress=options["compress"],
        in_flight=pace.in_flight,
    )
    quiet = options["quiet"] or options["as_json"]
    if not quiet:
        console.print("\n".join(introduction(traffic, pace)), highlight=False)
    with shown(console, pace, quiet=quiet) as watch:
        runner = Runner(traffic, transports, pace, ledger=ledger, watch=watch)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: runner.stop())
        tally = runner.run()
    if options["as_json"]:
        click.echo(json.dumps(totals(tally)))
    else:
        console.print("\n".join(summary(tally)), highlight=False)
    if ledger is not None:
        _write(ledger, traffic, options["ledger_file"], options["truth_file"])
    sys.exit(0 if tally.acked == tally.sent else 1)


def _write(ledger: SenderLedger, traffic: Traffic, ledger_file: Path | None, truth_file: Path | None) -> None:
    if ledger_file is not None:
        ledger.write(ledger_file)
    if truth_file is not None:
        truth = Truth(ledger.sent(traffic), slow_over=ledger.shape.mix.slow_over)
        with truth_file.open("w") as out:
            truth.write(out)
