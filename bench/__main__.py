"""`python -m bench`, also `make bench`: measure the gateway beside its peers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from bench.peers.butterfly import Butterfly
from bench.peers.collector import Collector
from bench.peers.rotel import Rotel
from bench.repetition import repeat
from bench.report import Results
from bench.rows import ALL, DEFAULT, QUICK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers import Peer
    from bench.rows import Row

RESULTS = Path(__file__).with_name("results")
PEERS = (Butterfly(), Rotel(), Collector())


@click.command()
@click.option("--quick", is_flag=True, help="Two rows, about two and a half minutes.")
@click.option("--all", "everything", is_flag=True, help="Every row, about an hour.")
@click.option("--row", "wanted", multiple=True, help="Only rows whose name contains this; may be repeated.")
@click.option("--peer", "peers", multiple=True, type=click.Choice([peer.name for peer in PEERS]), help="Only these.")
@click.option("--seconds", type=click.FloatRange(0.5, 3600), default=None, help="Length of a repetition.")
@click.option("--repetitions", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--list", "just_list", is_flag=True, help="Name the rows and stop.")
def main(
    *,
    quick: bool,
    everything: bool,
    wanted: tuple[str, ...],
    peers: tuple[str, ...],
    seconds: float | None,
    repetitions: int,
    just_list: bool,
) -> None:
    """Measure CPU, throughput, memory and latency, in alternation with the peers that are here."""
    rows = QUICK if quick else ALL if everything or wanted else DEFAULT
    rows = tuple(row for row in rows if not wanted or any(part in row.name for part in wanted))
    if just_list or not rows:
        click.echo("\n".join(row.name for row in rows or ALL))
        sys.exit(0 if just_list else 2)
    length = seconds if seconds is not None else 3.0 if quick else 4.0
    console = Console(stderr=True)
    if (os.cpu_count() or 1) < 2:
        console.print("one core only: the load shares it with the program, so latencies and spans/s say little")
    results = Results()
    chosen = [peer for peer in PEERS if not peers or peer.name in peers]
    try:
        _measure(rows, chosen, results, console, seconds=length, repetitions=repetitions)
    except KeyboardInterrupt:
        console.print("stopped; this is what there is")
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(results.table())
    path = results.write(RESULTS, {"seconds": length, "repetitions": repetitions})
    console.print(f"written: {path}", highlight=False)
    ours_wrong = any(each.wrong for (_, peer), runs in results.figures.items() if peer == "butterfly" for each in runs)
    ours_failed = any(peer == "butterfly" for _, peer in results.failures)
    sys.exit(1 if ours_wrong or ours_failed else 0)


def _measure(
    rows: Sequence[Row],
    peers: Sequence[Peer],
    results: Results,
    console: Console,
    *,
    seconds: float,
    repetitions: int,
) -> None:
    for row in rows:
        for number in range(repetitions):
            for peer in peers:
                played = peer.plays(row)
                if played is None:
                    continue
                reason = peer.missing() or results.failures.get((row, peer.name))
                if reason:
                    results.fail(row, peer.name, reason)
                    continue
                console.print(f"{row.name}: {peer.name} {number + 1}/{repetitions}", highlight=False)
                try:
                    results.add(row, peer.name, repeat(played, peer, seconds, seed=1000 * number), played)
                except RuntimeError as error:
                    results.fail(row, peer.name, str(error))


if __name__ == "__main__":
    main()
