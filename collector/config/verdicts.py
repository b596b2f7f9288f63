"""Who decides about traces, who goes by it, and whether the one can hear of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.component.kind import Kind
from collector.component.processor import Lookahead
from collector.config.model import SamplerSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collector.config.model import ComponentSpec, GatewayConfig, PipelineSpec


def samplers(
    components: Mapping[Kind, Mapping[str, ComponentSpec]], pipelines: Mapping[str, PipelineSpec]
) -> tuple[SamplerSpec, ...]:
    """The pipelines that decide about traces, in the file's order."""
    connectors, found = components[Kind.CONNECTORS], []
    for line in pipelines.values():
        cls = next((cls for id_ in line.processors if (cls := _decider(components[Kind.PROCESSORS][id_]))), None)
        if cls is not None:
            read = tuple(connectors[id_] for id_ in line.receivers if id_ in connectors)
            found.append(SamplerSpec(line.id, cls, read))
    return tuple(found)


def unheard(config: GatewayConfig) -> tuple[str, ...]:
    """What the components that go by verdicts can't have, or not clearly, in a process that runs the pipelines of
    `config`: a sentence each, with its line."""
    here = any(sampler.pipeline in config.pipelines for sampler in config.samplers)
    heard = [each.pipeline for each in config.samplers if each.pipeline in config.pipelines or each.shared]
    told: dict[str, None] = {}
    for pipeline in config.pipelines.values():
        for spec in config.parts(pipeline):
            if len(heard) != 1 and spec.cls.goes_by_verdicts(spec.config):
                why = _torn(heard, spec) if heard else _lost(config, spec)
                told[f"{config.path}:{pipeline.line}: service.pipelines.{pipeline.id}: {why}"] = None
            option = spec.cls.pins(spec.config)
            if option is not None and config.samplers and not here:
                told[f"{config.path}:{spec.line}: processors.{spec.id}.{option}: {_in_vain(config)}"] = None
    return tuple(told)


def _lost(config: GatewayConfig, spec: ComponentSpec) -> str:
    if not config.samplers:
        return (
            f"{spec.id!r} goes by the verdicts of a sampler, and no pipeline has one: it waits in vain; "
            "add a pipeline with tail_sampling, or remove it"
        )
    sampler = config.samplers[0]
    behind = ", ".join(repr(each.id) for each in sampler.connectors)
    where = f"{behind} is this machine's alone" if behind else "they are in the memory of the process that does"
    return (
        f"{spec.id!r} goes by the verdicts of {sampler.pipeline}, which is not run here, and {where}: "
        "it waits in vain; run both in one process, or put a connector that machines share (kafka) before the sampler"
    )


def _torn(heard: list[str], spec: ComponentSpec) -> str:
    return (
        f"{spec.id!r} goes by the verdicts of {' and '.join(heard)}: where they differ about a trace the later one "
        "counts, and what it lets through may lead to a trace that one of the two dropped"
    )


def _in_vain(config: GatewayConfig) -> str:
    others = ", ".join(sampler.pipeline for sampler in config.samplers)
    return f"it asks the samplers of this process, which doesn't run {others}: it has no effect"


def _decider(spec: ComponentSpec) -> type[Lookahead] | None:
    """The class, where it is one whose verdicts are about traces."""
    cls = spec.cls
    if issubclass(cls, Lookahead) and cls.decided_in.__func__ is not Lookahead.decided_in.__func__:  # type: ignore[attr-defined]  # a classmethod's function
        return cls
    return None
