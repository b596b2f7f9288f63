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
from bench.generator.log_records import LogShape
from bench.generator.metric_shape import DEFAULT_SERIES, MetricShape
from bench.generator.runner import Pace, Runner
from bench.generator.schedule import UNPACED_SPANS
from bench.generator.signals import SIGNALS, Signal
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


class Signals(click.ParamType[tuple[Signal, ...]]):
    """`traces,logs`, or `all`: which signals, in their own order."""

    name = "signals"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Signal, ...]:
        if isinstance(value, tuple):
            return value
        words = {word.strip() for word in str(value).split(",")}
        if words == {"all"}:
            return SIGNALS
        chosen = tuple(signal for signal in SIGNALS if signal in words)
        if not chosen or len(chosen) < len(words):
            self.fail(f"{value!r}: expected some of {','.join(SIGNALS)}, or all", param, ctx)
        return chosen


SECONDS = Seconds()
_MOST_RECORDS = 20.0
"""Log records to a span."""

_SHARE = click.FloatRange(0, 1)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--endpoint", default=None, help="host:port  [default: localhost:4317; with http localhost:4318]")
@click.option("--protocol", type=click.Choice(["grpc", "http"]), default="grpc", show_default=True)
@click.option("--gzip", "compress", is_flag=True, help="Compress requests.")
@click.option(
    "--signals", type=Signals(), default="traces", show_default=True, help="Some of traces,metrics,logs; or all."
)
@click.option(
    "--rate", type=click.FloatRange(0), default=10_000, show_default=True, help="Spans a second; 0: no limit."
)
@click.option(
    "--metrics-rate",
    type=click.FloatRange(0),
    default=1_000,
    show_default=True,
    help="Data points a second; 0: no limit, for any signal.",
)
@click.option(
    "--logs-rate",
    type=click.FloatRange(0),
    default=None,
    help="Records a second; 0: no limit, for any signal.  [default: a fifth of the spans]",
)
@click.option("--duration", type=SECONDS, default="60s", show_default=True, help="Length of the run, 24h at most.")
@click.option("--spans", type=click.IntRange(1), default=None, help="End the run after so many spans.")
@click.option("--senders", type=click.IntRange(1, 1000), default=8, show_default=True, help="Nodes, a connection each.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Spans a request.")
@click.option(
    "--logs-batch", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Records a request."
)
@click.option(
    "--metrics-batch", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Points a request."
)
@click.option(
    "--series",
    type=click.IntRange(1, 5_000_000),
    default=DEFAULT_SERIES,
    show_default=True,
    help="Active series, at least; the spans alone make some thousands.",
)
@click.option(
    "--temporality",
    type=click.Choice(["cumulative", "delta", "mixed"]),
    default="cumulative",
    show_default=True,
    help="Of counters and histograms; mixed: every other one a delta.",
)
@click.option(
    "--explode",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Add a metric with a label of so many distinct values.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Requests a sender may have open, of each signal.",
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
    signals: tuple[Signal, ...] = options["signals"]
    rate, records = _rates(options)
    shape = Shape(
        seed=seed,
        senders=options["senders"],
        batch=options["batch"],
        spans=options["cycle"],
        mix=mix,
        logs=LogShape(round(records * options["cycle"]), options["logs_batch"]) if "logs" in signals else None,
        metrics=MetricShape(options["series"], options["metrics_batch"], options["temporality"], options["explode"])
        if "metrics" in signals
        else None,
    )
    traffic = Traffic(shape)
    pace = Pace(
        rate=rate,
        points=options["metrics_rate"],
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
        console.print("\n".join(introduction(traffic, pace, signals)), highlight=False)
    with shown(console, pace, quiet=quiet) as watch:
        runner = Runner(traffic, transports, pace, ledger=ledger, watch=watch, signals=signals)
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


def _rates(options: dict[str, Any]) -> tuple[float, float]:
    """Spans a second (0: no limit), and log records to a span."""
    rate: float = options["rate"]
    per_second: float | None = options["logs_rate"]
    if per_second is None:
        return rate, 0.2
    if per_second == 0:
        return (0.0 if "logs" in options["signals"] else rate), 1.0
    records = per_second / (rate or UNPACED_SPANS)
    if records > _MOST_RECORDS:
        raise click.BadParameter(
            f"at most {_MOST_RECORDS:.0f} records to a span; raise --rate, which need not be sent",
            param_hint="--logs-rate",
        )
    return rate, records


def _write(ledger: SenderLedger, traffic: Traffic, ledger_file: Path | None, truth_file: Path | None) -> None:
    if ledger_file is not None:
        ledger.write(ledger_file)
    if truth_file is not None:
        truth = Truth(ledger.sent(traffic), slow_over=ledger.shape.mix.slow_over)
        with truth_file.open("w") as out:
            truth.write(out)
