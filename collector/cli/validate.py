"""`butterfly validate`"""

from __future__ import annotations

import click

from collector.config import load, select
from collector.errors import ConfigError
from collector.registry import Registry


@click.command()
@click.option("-c", "--config", "file", required=True, metavar="FILE", help="The YAML file.")
@click.option("--pipelines", default="", help="Also check a process that runs only these, as `butterfly run` does.")
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
def validate(file: str, pipelines: str, *, strict: bool) -> None:
    """Check a configuration and tell every problem in it. Nothing is opened, listened on or connected to.

    Exits with 0 when the gateway can run with it, with 1 when it can't.
    """
    try:
        config = load(file, Registry())
        if pipelines:
            config = select(config, [each.strip() for each in pipelines.split(",")])
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        raise click.exceptions.Exit(1) from None
    for warning in config.warnings:
        click.echo(f"{'error' if strict else 'warning'}: {warning}", err=True)
    if strict and config.warnings:
        raise click.exceptions.Exit(1)
    components = sum(len(specs) for specs in config.components.values())
    click.echo(f"{file}: valid ({len(config.pipelines)} pipelines, {components} components)")
