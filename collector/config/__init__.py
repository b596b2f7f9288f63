"""The configuration file: reading it, checking it, printing it, and its JSON Schema."""

from collector.config.loader import load
from collector.config.model import (
    ComponentSource,
    ComponentSpec,
    DeadLetterOptions,
    GatewayConfig,
    PipelineSpec,
    ServiceOptions,
    TelemetryOptions,
)
from collector.config.printing import to_yaml
from collector.config.schema import json_schema
from collector.config.selection import select

__all__ = [
    "ComponentSource",
    "ComponentSpec",
    "DeadLetterOptions",
    "GatewayConfig",
    "PipelineSpec",
    "ServiceOptions",
    "TelemetryOptions",
    "json_schema",
    "load",
    "select",
    "to_yaml",
]
