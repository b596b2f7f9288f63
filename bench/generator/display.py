"""What a run of the generator shows: a progress bar on a terminal, a line now and then elsewhere, a
summary at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from bench.generator.runner import Pace, Tally
    from bench.generator.traffic import Traffic

_PLAIN_EVERY = 5.0
_WIDE_SPREAD = 5.0


def introduction(traffic: Traffic, pace: Pace) -> list[str]:
    """What is about to be sent, and a warning when batches fill so slowly that traces straggle."""
    shape, mix = traffic.shape, traffic.shape.mix
    rate = f"{pace.rate:,.0f} spans/s" if pace.rate else "as fast as it goes"
    shares = f"{mix.errors:.1%} errors, {mix.slow:.1%} slow, {mix.byzantine:.1%} Byzantine"
    lines = [f"seed {shape.seed}: {shape.senders} senders, {shape.batch} spans a request, {rate}; {shares}"]
    spread = shape.senders * shape.batch / pace.rate if pace.rate else 0.0
    if spread > _WIDE_SPREAD:
        lines.append(f"note: at this rate a sender fills a batch in {spread:.0f} s; traces are spread as wide")
    return lines


def summary(tally: Tally) -> list[str]:
    """The totals of a run."""
    rate = tally.sent / tally.seconds if tally.seconds else 0.0
    outcomes = f"acked {tally.acked:,}, refused {tally.refused:,}, unknown {tally.unknown:,}"
    lines = [
        f"{tally.sent:,} spans in {tally.requests:,} requests, {tally.seconds:.1f} s, {rate:,.0f} spans/s",
        f"{outcomes}, retries {tally.retries:,}",
        f"ack p50 {tally.acks.quantile(0.5) * 1e3:.2f} ms, p99 {tally.acks.quantile(0.99) * 1e3:.2f} ms",
    ]
    if tally.rejected:
        lines.append(f"{tally.rejected:,} spans turned down by partial successes")
    if tally.statuses:
        lines.append("answers: " + ", ".join(f"{name} {count:,}" for name, count in sorted(tally.statuses.items())))
    return lines


def totals(tally: Tally) -> dict[str, Any]:
    """The same as JSON: spans, requests, seconds; latencies in seconds."""
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
    }


def _state(tally: Tally) -> str:
    rate = tally.sent / tally.seconds if tally.seconds else 0.0
    trouble = f", {tally.retries:,} retries" if tally.retries else ""
    return f"{tally.acked:,} spans acked, {rate:,.0f}/s, p99 {tally.acks.quantile(0.99) * 1e3:.1f} ms{trouble}"


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
                done = max(done, tally.sent / pace.spans)
            progress.update(task, completed=min(1.0, done), description=_state(tally))

        yield bar
