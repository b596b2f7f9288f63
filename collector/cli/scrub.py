"""`butterfly scrub`"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from collector.batch import Signal
from collector.component.base import BuildContext
from collector.component.kind import Kind
from collector.config import load
from collector.errors import ButterflyError, ConfigError
from collector.registry import Registry
from collector.wire import Malformed, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPE = "pii_scrubber"
_TOP = {"resourceSpans": Signal.TRACES, "resourceMetrics": Signal.METRICS, "resourceLogs": Signal.LOGS}
_LONGEST_SHOWN = 60


@click.command()
@click.argument("requests", metavar="[INPUT]", type=click.File("rb"), default="-")
@click.option("-c", "--config", "file", metavar="FILE", help="The YAML file; the preset's rules otherwise.")
@click.option("--processor", metavar="ID", help="Which processor of it, where several scrub.")
@click.option("--explain", is_flag=True, help="Tell what would change and by which rule, not the result.")
def scrub(requests: BinaryIO, file: str | None, processor: str | None, *, explain: bool) -> None:
    """Scrub OTLP/JSON from a file or standard input, one request or one on each line, and print the result.

    With --explain, one line for each value that would change: where it is, the rule, what it is like (never the value
    itself), and what would take its place. Hashes are made with the configuration's pepper, or with one made up for
    this call.
    """
    try:
        scrubber = _scrubber(file, processor)
        for signal, payload in _read(requests):
            changes, scrubbed = scrubber.explain_scrubbing(signal, payload)
            if not explain:
                click.echo(to_json(scrubbed, signal.value))
                continue
            for change in changes:
                click.echo(_told(change))
            click.echo(f"{len(changes)} values would change")
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        raise click.exceptions.Exit(1) from None
    except (ButterflyError, Malformed) as error:
        raise click.ClickException(str(error)) from None


def _scrubber(file: str | None, processor: str | None) -> Any:
    """A processor that can explain itself. Raises `ConfigError` when there is none, or several."""
    registry = Registry()
    if file is None:
        if processor is not None:
            raise ConfigError(["--processor needs --config"])
        cls = registry.load(Kind.PROCESSORS, _TYPE)
        return cls(cls.Config.model_validate({"ephemeral_pepper": True}), _context(_TYPE))
    config = load(file, registry)
    found = {name: spec for name, spec in config.processors.items() if hasattr(spec.cls, "explain_scrubbing")}
    chosen = found if processor is None else {name: spec for name, spec in found.items() if name == processor}
    if len(chosen) != 1:
        which = f"no scrubbing processor {processor!r}" if processor else "not exactly one scrubbing processor"
        raise ConfigError([f"{config.path}: there is {which} (scrubbing processors: {', '.join(found) or 'none'})"])
    ((name, spec),) = chosen.items()
    return spec.cls(spec.config, _context(name))


def _context(name: str) -> BuildContext:
    return BuildContext(id=name, log=logging.getLogger(f"butterfly.{name}"))


def _read(stream: BinaryIO) -> Iterator[tuple[Signal, bytes]]:
    """The requests as protobuf. Raises `Malformed`, whose message holds nothing of the input."""
    text = stream.read()
    try:
        parts = [(text, json.loads(text))]
    except ValueError:
        try:
            parts = [(line, json.loads(line)) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise Malformed("the input is not JSON, nor JSON on each line") from None
    for part, parsed in parts:
        signal = next((_TOP[name] for name in parsed if name in _TOP), None) if isinstance(parsed, dict) else None
        if signal is None:
            raise Malformed(f"expected an OTLP request: an object with one of {', '.join(_TOP)}")
        yield signal, from_json(part, signal.value)


def _told(change: Any) -> str:
    if change.now is None:
        return f"{change.path}  {change.rule}  {change.was} -> removed"
    now = change.now if len(change.now) <= _LONGEST_SHOWN else change.now[:_LONGEST_SHOWN] + "..."
    return f"{change.path}  {change.rule}  {change.was} -> {json.dumps(now, ensure_ascii=False)}"
