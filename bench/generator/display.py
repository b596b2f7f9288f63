"""What a run of the generator shows: a progress bar on a terminal, a line now and then elsewhere, a
summary at the end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.generator.runner import Counts
from bench.generator.signals import ITEMS, SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from rich.console import Console

    from bench.generator.runner import Pace, Tally
    from bench.generator.signals import Signal
    from bench.generator.traffic import Traffic

_PLAIN_EVERY = 5.0
_WIDE_SPREAD = 5.0


def introduction(traffic: Traffic, pace: Pace, signals: Collection[Signal]) -> list[str]:
    """What is about to be sent, and a warning when batches fill so slowly that traces straggle."""
    shape, mix = traffic.shape, traffic.shape.mix
    rate = f"{pace.rate:,.0f} spans/s" if pace.rate else "as fast as it goes"
    shares = f"{mix.errors:.1%} errors, {mix.slow:.1%} slow, {mix.byzantine:.1%} Byzantine"
    lines = [f"seed {shape.seed}: {shape.senders} senders, {shape.batch} spans a request, {rate}; {shares}"]
    spread = shape.senders * shape.batch / pace.rate if pace.rate else 0.0
    if spread > _WIDE_SPREAD and "traces" in signals:
        lines.append(f"note: at this rate a sender fills a batch in {spread:.0f} s; traces are spread as wide")
    if traffic.metrics is not None:
        points = (
            f"{pace.points:,.0f} points/s: a round in {traffic.metrics.series / pace.points:.1f} s"
            if pace.points
            else rate
        )
        lines.append(f"metrics: {traffic.metrics.series:,} series, {points}")
    if traffic.logs is not None:
        records = traffic.logs.records * pace.rate / traffic.spans
        lines.append(f"logs: {records:,.0f} records/s" if pace.rate else "logs: as fast as it goes")
    return lines


def summary(tally: Tally) -> list[str]:
    """The totals of a run."""
    lines = []
    for signal in SIGNALS:
        counts = tally.signals.get(signal, Counts() if signal == "traces" and not tally.signals else None)
        if counts is None:
            continue
        rate = counts.sent / tally.seconds if tally.seconds else 0.0
        items = ITEMS[signal]
        lines.append(
            f"{counts.sent:,} {items} in {counts.requests:,} requests, {tally.seconds:.1f} s, {rate:,.0f} {items}/s"
        )
        lines.append(f"acked {counts.acked:,}, refused {counts.refused:,}, unknown {counts.unknown:,}")
        if counts.rejected:
            lines.append(f"{counts.rejected:,} {items} turned down by partial successes")
    lines.append(
        f"ack p50 {tally.acks.quantile(0.5) * 1e3:.2f} ms, p99 {tally.acks.quantile(0.99) * 1e3:.2f} ms, "
        f"retries {tally.retries:,}"
    )
    if tally.statuses:
        lines.append("answers: " + ", ".join(f"{name} {count:,}" for name, count in sorted(tally.statuses.items())))
    return lines


def totals(tally: Tally) -> dict[str, Any]:
    """The same as JSON: items of all signals and of each, requests, seconds; latencies in seconds."""
    return {
        "sent": tally.sent,
        "acked": tally.acked,
        "refused": tally.refused,
        "unknown": tally.unknown,
        "rejected": tally.rejected,
        "requests": tally.requests,
        "retries": tally.retries,
        "seconds": round(tally.seconds, 4),
        "ack_p50": round(tally.acks.quantile(0.5), 6),
        "ack_p99": round(tally.acks.quantile(0.99), 6),
        "statuses": tally.statuses,
        "signals": {signal: asdict(counts) for signal, counts in tally.signals.items()},
    }


def _state(tally: Tally) -> str:
    acked = ", ".join(
        f"{counts.acked:,} {ITEMS[signal]} acked, {counts.sent / tally.seconds if tally.seconds else 0.0:,.0f}/s"
        for signal, counts in tally.signals.items()
    )
    trouble = f", {tally.retries:,} retries" if tally.retries else ""
    return f"{acked}{trouble}, p99 {tally.acks.quantile(0.99) * 1e3:.1f} ms"


@contextmanager
def shown(console: Console, pace: Pace, *, quiet: bool) -> Iterator[Callable[[Tally], None] | None]:
    """A callback that shows the totals as they grow; None when nothing is to be shown."""
    if quiet:
        yield None
        return
    if not console.is_terminal:
        printed = 0.0

        def line(tally: Tally) -> None:
            nonlocal printed
            if tally.seconds - printed >= _PLAIN_EVERY:
                printed = tally.seconds
                console.print(_state(tally), highlight=False)

        yield line
        return
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        def bar(tally: Tally) -> None:
            done = tally.seconds / pace.duration
            if pace.spans is not None:
                traces = tally.signals.get("traces")
                done = max(done, traces.sent / pace.spans if traces else 0.0)
            progress.update(task, completed=min(1.0, done), description=_state(tally))

        yield bar
