"""`butterfly`: the command line.

Each command is loaded when it is used, so that a part that isn't there harms no other.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

import click

from collector.compiled import advice, missing_extension
from collector.version import __version__


class _Entry(NamedTuple):
    place: str
    about: str


_COMMANDS = {
    "run": _Entry("collector.cli.run:run", "Run the gateway."),
    "validate": _Entry("collector.cli.validate:validate", "Check a configuration and tell every problem in it."),
    "print-config": _Entry(
        "collector.cli.print_config:print_config", "Print the effective configuration, secrets hidden."
    ),
    "components": _Entry("collector.cli.components:components", "List the components that can be configured."),
    "schema": _Entry("collector.cli.schema:schema", "Print the configuration's JSON Schema, for editors."),
    "scrub": _Entry("collector.cli.scrub:scrub", "Scrub OTLP/JSON as the gateway would, or explain what would change."),
    "kafka": _Entry("collector.cli.kafka:kafka", "Prepare the brokers of a kafka connector."),
    "generate": _Entry("bench.generator.command:generate", "Send Butterfly's own traffic to a gateway."),
}


class _Commands(click.Group):
    """A group whose commands are named in `_COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for name, entry in _COMMANDS.items() if _is_there(entry)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry.place.partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            extension = missing_extension(error)
            reason = advice(extension) if extension else f"it needs {error.name}, which isn't installed"
            raise click.ClickException(f"{cmd_name} can't run: {reason}") from error
        if not isinstance(command, click.Command):
            raise click.ClickException(f"{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _COMMANDS[name].about) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _is_there(entry: _Entry) -> bool:
    """Whether a command's module exists (`bench` is in the source tree alone); it isn't imported."""
    try:
        return importlib.util.find_spec(entry.place.partition(":")[0]) is not None
    except ImportError:
        return False


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="butterfly")
def main() -> None:
    """Butterfly Collector, an OpenTelemetry gateway."""
