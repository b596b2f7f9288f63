"""`butterfly run`: the gateway itself."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
import uvloop
from rich.console import Console

from collector.batch import Signal
from collector.cli.logs import configure, hush_grpc
from collector.cli.screen import Screen
from collector.config import load, select
from collector.errors import ButterflyError, ConfigError
from collector.registry import Registry
from collector.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from collector.config.model import GatewayConfig

DEMO_RATE = 2000
DEMO_SECONDS = 24 * 3600
END_WITHIN_S = 8.8
"""From the signal to the end of the process; a stop plans with less (`collector.graph.graph.STOP_WITHIN_S`)."""

log = logging.getLogger("butterfly.service")


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="YAML file.",
)
@click.option("--pipelines", default="", help="Run only these, comma-separated: traces/ingest,traces/sample")
@click.option("--screen/--no-screen", default=None, help="Live screen; by default where there is a terminal.")
@click.option(
    "--demo",
    is_flag=True,
    help=f"Also start the bundled generator at {DEMO_RATE} spans/s, with metrics and logs where pipelines take them.",
)
def run(path: Path, pipelines: str, screen: bool | None, demo: bool) -> None:
    """Run the gateway until SIGTERM or Ctrl-C. SIGHUP reloads the file."""

    def read() -> GatewayConfig:
        config = load(path, Registry())
        return select(config, [each.strip() for each in pipelines.split(",")]) if pipelines else config

    hush_grpc()
    try:
        config = read()
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(2) from None
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    live = sys.stdout.isatty() if screen is None else screen
    console = Console() if live else None
    logs = config.service.telemetry.logs
    configure(logs.level, logs.encoding, console)
    signals = _fed(config) if demo else []
    if demo and not signals:
        click.echo("warning: --demo has no effect: no receiver feeds a pipeline here", err=True)
    with _demo_traffic(signals) if signals else nullcontext():
        try:
            code = uvloop.run(_serve(config, read, console, str(path)))
        except (ButterflyError, OSError) as error:
            click.echo(f"butterfly can't start: {error}", err=True)
            raise SystemExit(1) from None
    raise SystemExit(code)


async def _serve(config: GatewayConfig, read: Callable[[], GatewayConfig], console: Console | None, title: str) -> int:
    service = Service(config, read, on_stop=_end_in_time)
    screen = asyncio.get_running_loop().create_task(Screen(service, console, title).run())
    try:
        return await service.run()
    finally:
        screen.cancel()
        await asyncio.gather(screen, return_exceptions=True)


def _end_in_time() -> None:
    """A disk that hangs must not keep the process: what a stop leaves unfinished is safe from a crash, too."""
    watchdog = threading.Timer(END_WITHIN_S, _end)
    watchdog.daemon = True
    watchdog.start()


def _end() -> None:
    log.critical("the stop takes too long: ending now, what is unfinished stays in the logs")
    os._exit(1)


def _fed(config: GatewayConfig) -> list[str]:
    """The signals that receivers take."""
    fed = {line.signal for line in config.pipelines.values() if any(id_ in config.receivers for id_ in line.receivers)}
    return [signal.value for signal in Signal if signal in fed]


@contextmanager
def _demo_traffic(signals: Sequence[str]) -> Iterator[None]:
    """The generator of `signals` in a process of its own, at a lower priority, for a day at the most."""
    command = [
        sys.executable,
        "-m",
        "collector",
        "generate",
        "--signals",
        ",".join(signals),
        "--rate",
        str(DEMO_RATE),
        "--duration",
        f"{DEMO_SECONDS}s",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(["nice", "-n", "5", *command], stdin=quiet, stdout=quiet, stderr=quiet) as process:  # noqa: S603, S607 - our own command line, nothing of it from outside
        try:
            yield
        finally:
            process.terminate()
