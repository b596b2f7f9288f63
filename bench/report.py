"""The report: a table for people, a JSON file for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.peers.collector import VERSION as COLLECTOR_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.repetition import Figures
    from bench.rows import Row

OURS = "butterfly"
_MEBI = 1 << 20


class Results:
    """Everything that was measured, by row and program, and why something wasn't."""

    def __init__(self) -> None:
        self.figures: dict[tuple[Row, str], list[Figures]] = {}
        self.failures: dict[tuple[Row, str], str] = {}
        self.played: dict[tuple[Row, str], Row] = {}

    def add(self, row: Row, peer: str, figures: Figures, played: Row | None = None) -> None:
        """`played`: what the program ran for `row`, where that is another row."""
        self.figures.setdefault((row, peer), []).append(figures)
        self.played[row, peer] = played or row

    def fail(self, row: Row, peer: str, reason: str) -> None:
        self.failures[row, peer] = reason

    def ratio(self, row: Row, peer: str) -> float | None:
        """Median CPU per million spans of ours over that of the peer; below 1 is less than the peer."""
        ours, theirs = self.figures.get((row, OURS)), self.figures.get((row, peer))
        if not ours or not theirs or peer == OURS:
            return None
        below = statistics.median(each.cpu_per_million for each in theirs)
        return statistics.median(each.cpu_per_million for each in ours) / below if below else None

    def table(self) -> Table:
        table = Table(title=r"median \[min-max]; CPU-s/M: CPU seconds per million input spans", title_justify="left")
        for heading in ("row", "program"):
            table.add_column(heading, no_wrap=True)
        for heading in ("CPU-s/M", "ours/its", "spans/s", "% core", "RSS MiB", "ack p50/p99 ms", "delivery p50/p99 ms"):
            table.add_column(heading, justify="right")
        for heading in ("B/span out", "load CPU s"):
            table.add_column(heading, justify="right")
        table.add_column("counts")
        shown = None
        for row, peer in dict.fromkeys([*self.figures, *self.failures]):
            name = "" if row == shown else row.name
            shown = row
            played = self.played.get((row, peer), row)
            label = peer if played == row else f"{peer}, merely {played.workload}"
            table.add_row(name, label, *self._cells(row, peer), end_section=False)
            for tier, (cpu, rss) in self._tiers(row, peer).items():
                table.add_row("", f"  {tier}", f"{cpu:.2f}", "", "", "", f"{rss / _MEBI:.0f}", *[""] * 5)
        return table

    def _tiers(self, row: Row, peer: str) -> dict[str, tuple[float, float]]:
        """Medians of each process, where there are several."""
        runs = self.figures.get((row, peer), [])
        return {
            name: (
                statistics.median(each.tiers[name][0] for each in runs),
                statistics.median(each.tiers[name][1] for each in runs),
            )
            for name in (runs[0].tiers if runs else ())
        }

    def _cells(self, row: Row, peer: str) -> list[str]:
        runs = self.figures.get((row, peer), [])
        failure = self.failures.get((row, peer))
        if not runs:
            return ["-"] * 9 + [failure or "-"]
        ratio = self.ratio(row, peer)
        wrong = next((each.wrong for each in runs if each.wrong), failure or "")
        return [
            _spread(runs, lambda each: each.cpu_per_million, "{:.2f}"),
            f"{ratio:.2f}" if ratio is not None else "",
            _spread(runs, lambda each: each.spans_per_second / 1e3, "{:.0f}") + "K",
            _middle(runs, lambda each: each.cpu_share * 100, "{:.1f}"),
            _middle(runs, lambda each: each.peak_rss / _MEBI, "{:.0f}"),
            _pair(runs, lambda each: each.ack_p50, lambda each: each.ack_p99),
            _pair(runs, lambda each: each.delivery_p50, lambda each: each.delivery_p99) if row.forwards else "",
            _middle(runs, lambda each: each.sink_tcp_bytes / max(1, each.sink_spans), "{:.0f}") if row.forwards else "",
            _middle(runs, lambda each: each.load_cpu, "{:.1f}"),
            f"NO: {wrong}" if wrong else "yes",
        ]

    def write(self, folder: Path, options: dict[str, Any]) -> Path:
        """Write `<date>.json` into the folder; its name."""
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        path = folder / f"{now:%Y-%m-%dT%H%M%S}.json"
        document = {
            "at": now.isoformat(timespec="seconds"),
            "host": host(),
            "options": options,
            "rows": [
                {
                    "row": row.name,
                    **asdict(row),
                    "program": peer,
                    "cpu_ratio": self.ratio(row, peer),
                    "failure": self.failures.get((row, peer)),
                    "repetitions": [asdict(each) for each in self.figures.get((row, peer), [])],
                }
                for row, peer in dict.fromkeys([*self.figures, *self.failures])
            ],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path


def host() -> dict[str, Any]:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": _version("grpcio"),
        "rotel": _version("rotel"),
        "collector": COLLECTOR_VERSION,
        "load_average": os.getloadavg(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _middle(runs: Sequence[Figures], value: Callable[[Figures], float], form: str) -> str:
    return form.format(statistics.median(value(each) for each in runs))


def _spread(runs: Sequence[Figures], value: Callable[[Figures], float], form: str) -> str:
    values = [value(each) for each in runs]
    return f"{form.format(statistics.median(values))} [{form.format(min(values))}-{form.format(max(values))}]"


def _pair(runs: Sequence[Figures], first: Callable[[Figures], float], second: Callable[[Figures], float]) -> str:
    return "/".join(f"{statistics.median(value(each) for each in runs) * 1e3:.1f}" for value in (first, second))
