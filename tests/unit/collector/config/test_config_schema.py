"""The JSON Schema, by a small evaluator of the keywords that it uses: what the loader takes, the schema takes."""

import json
import re
from pathlib import Path

import pytest
import yaml
from config_fakes import CLASSES

from collector.component.kind import Kind
from collector.config import json_schema
from collector.registry import Registry

CASES = Path(__file__).parent / "cases"
SCHEMA = json_schema(CLASSES)
KEYWORDS = {
    "$ref", "$schema", "$defs", "type", "properties", "patternProperties", "additionalProperties", "required",
    "items", "anyOf", "oneOf", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minItems", "minLength", "maxLength", "maxItems", "uniqueItems", "title",
    "description", "default", "discriminator", "format", "writeOnly",
}  # fmt: skip
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}


def is_type(value, name):
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def accepts(schema, value, root=None):
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    assert schema.keys() <= KEYWORDS, schema.keys() - KEYWORDS
    if "$ref" in schema and not accepts(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root):
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(is_type(value, name) for name in types):
        return False
    for keyword, some in (("anyOf", lambda n: n >= 1), ("oneOf", lambda n: n == 1)):
        if keyword in schema and not some(sum(accepts(one, value, root) for one in schema[keyword])):
            return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return False
        if value <= schema.get("exclusiveMinimum", value - 1) or value >= schema.get("exclusiveMaximum", value + 1):
            return False
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return False
        return all(accepts(schema.get("items", True), item, root) for item in value)
    return not isinstance(value, dict) or accepts_mapping(schema, value, root)


def accepts_mapping(schema, value, root):
    if not set(schema.get("required", [])) <= value.keys():
        return False
    for key, item in ((str(key), item) for key, item in value.items()):
        judges = [schema["properties"][key]] if key in schema.get("properties", {}) else []
        judges += [one for pattern, one in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
        judges = judges or [schema.get("additionalProperties", True)]
        if not all(accepts(one, item, root) for one in judges):
            return False
    return True


def nodes(schema):
    yield schema
    for value in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(value, dict | list):
            yield from nodes(value)


def config(**sections):
    good = yaml.safe_load((CASES / "good_full.yaml").read_text())
    return {**good, **sections}


def test_says_its_draft():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["required"] == ["service"]
    json.dumps(SCHEMA)


def test_every_reference_leads_somewhere():
    refs = {node["$ref"] for node in nodes(SCHEMA) if isinstance(node, dict) and isinstance(node.get("$ref"), str)}
    assert refs
    assert {ref.removeprefix("#/$defs/") for ref in refs} <= SCHEMA["$defs"].keys()


@pytest.mark.parametrize(
    "name", ["good_full", "good_merge", "unused", "lookahead_in_memory", "twice", "signals", "cycle"]
)
def test_takes_what_the_loader_takes(name):
    assert accepts(SCHEMA, yaml.safe_load((CASES / f"{name}.yaml").read_text()))


@pytest.mark.parametrize(
    "sections",
    [
        {"recievers": {}},
        {"receivers": {"oltp": None}},
        {"receivers": {"otlp/": None}},
        {"receivers": {"otlp": {"protocol": None}}},
        {"receivers": {"otlp/x": {"protocol": None}}},
        {"receivers": {"otlp": {"protocols": {"grpc": {"max_size": "ten"}}}}},
        {"processors": {"sampler": {"decision_wait": "10"}}},
        {"processors": {"sampler": {"decision_wait": 10}}},
        {"processors": {"sampler": {"num_traces": 0}}},
        {"processors": {"sampler": {"num_traces": "many"}}},
        {"processors": {"sampler": {"enabled": "perhaps"}}},
        {"processors": {"sampler": {"policies": [{"type": "statuss"}]}}},
        {"processors": {"sampler": {"policies": [{"type": "status", "codes": ["EROR"]}]}}},
        {"exporters": {"otlp": {}}},
        {"exporters": {"otlp": {"endpoint": "x", "mode": "fsat"}}},
        {"exporters": ["otlp"]},
        {"service": {"pipelines": {"traces": {"receivers": []}}}},
        {"service": {"telemetry": {"logs": {"level": "loud"}}}},
    ],
    ids=str,
)
def test_refuses_what_the_loader_refuses(sections):
    assert not accepts(SCHEMA, config(**sections))


@pytest.mark.parametrize(
    "sections",
    [
        {"receivers": None},
        {"receivers": {"otlp": None, "otlp/b": {}, "./mine.py:Class": {"x": 1}, "a.b:Class/name": None}},
        {"receivers": {"otlp": {"protocols": {"grpc": {"max_size": "${env:SIZE}"}}}}},
        {"receivers": {"otlp": {"protocols": {"grpc": {"max_size": 4096}, "http": None}}}},
        {"processors": {"sampler": {"decision_wait": "1m30s", "num_traces": "${env:N:-5}", "enabled": "${E}"}}},
        {"processors": {"sampler": {"decision_wait": "0"}}},
        {"exporters": {"otlp": {"endpoint": "x", "token": "s", "headers": {"a": "b"}, "mode": "${env:MODE}"}}},
    ],
    ids=str,
)
def test_takes_all_that_the_yaml_can_say(sections):
    assert accepts(SCHEMA, config(**sections))


def test_options_carry_their_descriptions_and_defaults():
    sampler = next(d for d in SCHEMA["$defs"].values() if "decision_wait" in d.get("properties", {}))
    wait = sampler["properties"]["decision_wait"]
    assert wait["description"] == "Wait."
    assert wait["default"] == "10s"
    assert SCHEMA["properties"]["processors"]["properties"]["sampler"]["description"] == "Samples."


def test_nothing_registered_still_is_a_schema():
    assert json_schema({})["properties"]["receivers"]["properties"] == {}


REPOSITORY = Path(__file__).parents[4]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_of_the_real_components_takes_the_shipped_configurations(path):
    classes = {kind: {} for kind in Kind}
    for item in Registry().available():
        assert item.cls is not None, item.error
        classes[item.kind][item.type_name] = item.cls
    schema = json_schema(classes)
    tree = yaml.safe_load(path.read_text())
    assert accepts(schema, tree)
    kind, component = next((kind, ids) for kind in ("receivers", "exporters") for ids in [next(iter(tree[kind]))])
    tree[kind][component] = {"no_such_option": 1}
    assert not accepts(schema, tree)
