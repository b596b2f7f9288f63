"""`--pipelines`: the part of a configuration that one process runs."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from collector.component.kind import Kind
from collector.config.problems import did_you_mean
from collector.config.verdicts import unheard
from collector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collector.config.model import GatewayConfig


def select(config: GatewayConfig, names: Iterable[str]) -> GatewayConfig:
    """`config` with the pipelines `names` alone, and only the components that these use. Extensions stay.

    A connector stays when either of its halves is selected. Raises `ConfigError` for names that aren't
    pipelines, and when there is none.
    """
    wanted = dict.fromkeys(names)
    problems = [
        f"{config.path}: there is no pipeline {name!r}{did_you_mean(name, config.pipelines)} "
        f"(pipelines: {', '.join(config.pipelines)})"
        for name in wanted
        if name not in config.pipelines
    ]
    if not wanted:
        problems.append(f"{config.path}: no pipeline is selected (pipelines: {', '.join(config.pipelines)})")
    if problems:
        raise ConfigError(problems)
    pipelines = {name: spec for name, spec in config.pipelines.items() if name in wanted}
    used = {
        Kind.RECEIVERS: {name for spec in pipelines.values() for name in spec.receivers},
        Kind.PROCESSORS: {name for spec in pipelines.values() for name in spec.processors},
        Kind.EXPORTERS: {name for spec in pipelines.values() for name in spec.exporters},
        Kind.EXTENSIONS: set(config.extensions),
    }
    used[Kind.CONNECTORS] = used[Kind.RECEIVERS] | used[Kind.EXPORTERS]
    selected = replace(
        config,
        pipelines=MappingProxyType(pipelines),
        components=MappingProxyType(
            {
                kind: MappingProxyType({name: spec for name, spec in specs.items() if name in used[kind]})
                for kind, specs in config.components.items()
            }
        ),
    )
    of_all = unheard(config)  # what is heard is another matter here
    warnings = [each for each in config.warnings if each not in of_all]
    return replace(selected, warnings=(*warnings, *unheard(selected)))
