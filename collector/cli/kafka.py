"""`butterfly kafka`"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from collector.batch import Signal
from collector.config import load
from collector.connectors.kafka.obstacle import silence
from collector.connectors.kafka.options import KafkaOptions
from collector.connectors.kafka.topic_plan import Gravity
from collector.connectors.kafka.topics import create
from collector.errors import ConfigError, StorageError
from collector.registry import Registry

if TYPE_CHECKING:
    from collector.config import GatewayConfig
    from collector.connectors.kafka.topics import TopicState


@click.group()
def kafka() -> None:
    """Prepare the brokers of a kafka connector."""


@kafka.command()
@click.option("-c", "--config", "file", required=True, metavar="FILE", help="The YAML file.")
@click.option("--connector", metavar="ID", help="One connector of it; all kafka connectors otherwise.")
@click.option("--dry-run", is_flag=True, help="Create nothing; say what would be done.")
def init(file: str, connector: str | None, *, dry_run: bool) -> None:
    """Create the topics that are missing, and compare those that exist with the configuration.

    Safe to repeat: a topic that exists is never altered. Exits with 0 when all topics are as configured (with
    --dry-run: would be), with 1 when one differs or can't be created, or when no broker answers.
    """
    silence()
    try:
        config = load(file, Registry())
        chosen = _chosen(config, connector)
        fine = [_prepare(config, name, options, dry_run=dry_run) for name, options in chosen.items()]
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        raise click.exceptions.Exit(1) from None
    if not all(fine):
        raise click.exceptions.Exit(1)


def _chosen(config: GatewayConfig, connector: str | None) -> dict[str, KafkaOptions]:
    """The kafka connectors by name, or the one named `connector`. Raises `ConfigError` when there is none."""
    found = {name: spec.config for name, spec in config.connectors.items() if isinstance(spec.config, KafkaOptions)}
    if connector is None and found:
        return found
    if connector in found:
        return {connector: found[connector]}
    what = "no kafka connector" if connector is None else f"no kafka connector {connector!r}"
    raise ConfigError([f"{config.path}: there is {what} (kafka connectors: {', '.join(found) or 'none'})"])


def _signals(config: GatewayConfig, name: str) -> frozenset[Signal]:
    """The signals that the connector carries; all where no pipeline uses it yet."""
    used = {spec.signal for spec in config.pipelines.values() if name in {*spec.receivers, *spec.exporters}}
    return frozenset(used or Signal)


def _prepare(config: GatewayConfig, name: str, options: KafkaOptions, *, dry_run: bool) -> bool:
    """Create and compare; one line a topic. Whether all is as it should be."""
    try:
        states = asyncio.run(create(options, _signals(config, name), config.readers[name], dry_run=dry_run))
    except StorageError as error:
        click.echo(f"error: {name}: {error}", err=True)
        return False
    for state in states:
        click.echo(f"{name}: {state.plan.name}: {_told(state, dry_run=dry_run)}")
    return all(_is_fine(state) for state in states)


def _is_fine(state: TopicState) -> bool:
    return state.state != "refused" and all(each.gravity is Gravity.UNCHECKED for each in state.differences)


def _told(state: TopicState, *, dry_run: bool) -> str:
    if state.state == "refused":
        return f"{'would not be' if dry_run else 'not'} created: {state.reason}"
    if state.state in {"created", "absent"}:
        shape = f"partitions: {state.plan.partitions}, replication factor: {state.plan.replication_factor}"
        return f"{'created' if state.state == 'created' else 'would be created'} ({shape})"
    if not state.differences:
        return "exists, as configured"
    return "exists, but " + "; ".join(f"{each.what}: {each.remedy}" for each in state.differences)
