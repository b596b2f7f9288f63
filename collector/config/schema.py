"""A JSON Schema (draft 2020-12) of the configuration, for editors.

It describes every type that is registered; a custom class (`module:Class`) may hold anything. Wherever a
number or a truth value stands, an expression (`${env:NAME}`) may stand too.
"""

from __future__ import annotations

import inspect
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from collector.component.kind import Kind
from collector.config.model import PipelineOptions, ServiceOptions
from collector.options import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core.core_schema import WithDefaultSchema

    from collector.component.base import Component

_EXPRESSION = {
    "type": "string",
    "pattern": r"\$\{[^}]+\}",
    "description": "A value from ${env:NAME} or ${file:PATH}.",
}
_ABOUT = {
    Kind.RECEIVERS: "What takes telemetry in.",
    Kind.PROCESSORS: "What changes or holds telemetry on its way.",
    Kind.EXPORTERS: "What sends telemetry on.",
    Kind.CONNECTORS: "The exporter of one pipeline and the receiver of another.",
    Kind.EXTENSIONS: "What works beside the data path.",
}


def json_schema(classes: Mapping[Kind, Mapping[str, type[Component]]]) -> dict[str, Any]:
    """The schema for the component `classes` by kind and type."""
    models: list[type[BaseModel]] = [cls.Config for kind in Kind for cls in classes.get(kind, {}).values()]
    models += [ServiceOptions, PipelineOptions]
    unique = list(dict.fromkeys(models))
    refs, shared = models_json_schema(
        [(model, "validation") for model in unique],
        ref_template="#/$defs/{model}",
        schema_generator=_Generator,
    )
    definitions: dict[str, Any] = shared.get("$defs", {})
    definitions = {name: _with_expressions(definition) for name, definition in definitions.items()}
    definitions["expression"] = _EXPRESSION
    ref = {model: refs[model, "validation"] for model in unique}
    properties: dict[str, Any] = {
        kind.value: _section(kind, {name: (cls, ref[cls.Config]) for name, cls in classes.get(kind, {}).items()})
        for kind in Kind
    }
    properties["service"] = _nullable(ref[ServiceOptions])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Butterfly Collector",
        "type": "object",
        "properties": properties,
        "required": ["service"],
        "additionalProperties": False,
        "$defs": definitions,
    }


class _Generator(GenerateJsonSchema):
    """Writes the defaults of durations, sizes and names of numbers as the YAML does."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        serialization = schema["schema"].get("serialization", {})
        write = serialization.get("function")
        default = found.get("default")
        if default is not None and (write in (format_duration, format_size) or isinstance(schema["default"], IntEnum)):
            found["default"] = write(schema["default"])
        return found


def about(cls: type[Component]) -> str:
    """The first sentence of a component's docstring."""
    paragraph = " ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())
    sentence, dot, _ = paragraph.partition(". ")
    return sentence + dot.rstrip()


def _section(kind: Kind, types: Mapping[str, tuple[type[Component], dict[str, Any]]]) -> dict[str, Any]:
    patterns: dict[str, Any] = {
        f"^{re.escape(name)}(/[^\\s,]{{1,128}})?$": {**_nullable(ref), "description": about(cls)}
        for name, (cls, ref) in types.items()
    }
    patterns["^[^:]+:[A-Za-z_]\\w*(/[^\\s,]{1,128})?$"] = {
        "type": ["object", "null"],
        "description": f"A {kind.word} of your own: package.module:Class or ./file.py:Class.",
    }
    return {
        "type": ["object", "null"],
        "description": _ABOUT[kind],
        # Editors complete `properties`; `patternProperties` judge `type` and `type/name` alike.
        "properties": {name: {**_nullable(ref), "description": about(cls)} for name, (cls, ref) in types.items()},
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _nullable(ref: Mapping[str, Any]) -> dict[str, Any]:
    """`otlp:` with nothing after it means all defaults."""
    return {"anyOf": [dict(ref), {"type": "null"}]}


def _with_expressions(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_expressions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("integer", "number", "boolean") or "enum" in schema or "pattern" in schema:
        outer = {key: schema[key] for key in ("default", "description", "title") if key in schema}
        inner = {key: value for key, value in schema.items() if key not in outer}
        return {**outer, "anyOf": [inner, {"$ref": "#/$defs/expression"}]}
    return {
        key: {name: _with_expressions(item) for name, item in value.items()}
        if key in ("properties", "patternProperties", "$defs") and isinstance(value, dict)
        else value
        if key in ("default", "const", "examples", "required", "discriminator")
        else _with_expressions(value)
        for key, value in schema.items()
    }
