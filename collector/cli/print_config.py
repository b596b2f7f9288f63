"""`butterfly print-config`"""

from __future__ import annotations

import click

from collector.config import load, to_yaml
from collector.errors import ConfigError
from collector.registry import Registry


@click.command("print-config")
@click.option("-c", "--config", "file", required=True, metavar="FILE", help="The YAML file.")
def print_config(file: str) -> None:
    """Print the effective configuration as YAML: defaults filled in, secrets shown as [REDACTED]."""
    try:
        config = load(file, Registry())
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        raise click.exceptions.Exit(1) from None
    click.echo(to_yaml(config), nl=False)
