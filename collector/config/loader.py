"""`load`: from a file to a `GatewayConfig`, or to every problem of it at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from collector.component.connector import Reader
from collector.component.deriving import DerivingConnector
from collector.component.follower import VerdictFollower
from collector.component.kind import Kind
from collector.component.processor import Lookahead, Stateful
from collector.config.checks import Checks
from collector.config.document import MAX_FILE, Document, parse
from collector.config.identifiers import pipeline_signal, split_id
from collector.config.messages import found_text, sentence
from collector.config.model import ComponentSpec, GatewayConfig, PipelineOptions, PipelineSpec, ServiceOptions
from collector.config.problems import Problems, did_you_mean
from collector.config.shapes import booleans_for_numbers
from collector.config.substitution import Expansion, expand
from collector.config.verdicts import samplers, unheard
from collector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from collector.component.base import Component
    from collector.config.model import ComponentSource
    from collector.config.problems import Path as YamlPath

_SECTIONS = (*(kind.value for kind in Kind), "service")


def load(
    path: str | os.PathLike[str], registry: ComponentSource, env: Mapping[str, str] | None = None
) -> GatewayConfig:
    """Read and check the configuration at `path`.

    Variables come from `env` (the process's own by default); classes come from `registry`. Raises
    `ConfigError` with all problems, each `file:line: path: sentence`. No secret is ever in one. What is
    merely odd is in the result's `warnings`.
    """
    file = Path(path)
    problems = Problems(str(path))
    variables = os.environ if env is None else env
    document = parse(_read(file, problems), lambda text: expand(text, variables, file.parent), problems)
    return _Loader(file, document, registry, problems).load()


def _read(file: Path, problems: Problems) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError([f"{file}: can't be read: {error.strerror or type(error).__name__}"]) from None
    if len(content) > MAX_FILE:
        raise ConfigError([f"{file}: larger than {MAX_FILE >> 20} MiB"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.error((), "not UTF-8 text", content.count(b"\n", 0, error.start) + 1)
        problems.raise_errors()
        raise


class _Loader:
    def __init__(self, file: Path, document: Document, registry: ComponentSource, problems: Problems) -> None:
        self._file = file
        self._document = document
        self._registry = registry
        self._problems = problems

    def load(self) -> GatewayConfig:
        tree = self._document.tree
        for key in tree:
            if key not in _SECTIONS:
                self._problems.error(
                    (),
                    f"unknown key {key!r}{did_you_mean(key, _SECTIONS)} (known: {', '.join(_SECTIONS)})",
                    self._problems.line((key,)),
                )
        classes: dict[Kind, dict[str, type[Component] | None]] = {}
        components: dict[Kind, dict[str, ComponentSpec]] = {}
        for kind in Kind:
            classes[kind], components[kind] = self._section(kind)
        service, pipelines = self._service()
        Checks(classes, pipelines, service.extensions if service else (), self._problems).run()
        self._problems.raise_errors()
        if service is None:
            raise AssertionError("a service that doesn't validate is a reported problem")
        config = GatewayConfig(
            path=self._file,
            components=MappingProxyType({kind: MappingProxyType(specs) for kind, specs in components.items()}),
            pipelines=MappingProxyType(pipelines),
            service=service,
            warnings=self._problems.warnings,
            readers=MappingProxyType(_readers(components, pipelines)),
            samplers=samplers(components, pipelines),
            origins=MappingProxyType(self._document.origins),
        )
        return replace(config, warnings=(*config.warnings, *unheard(config)))

    def _section(self, kind: Kind) -> tuple[dict[str, type[Component] | None], dict[str, ComponentSpec]]:
        classes: dict[str, type[Component] | None] = {}
        specs: dict[str, ComponentSpec] = {}
        for component, options in self._mapping((kind.value,)).items():
            path = (kind.value, component)
            cls = classes[component] = self._class(kind, component)
            if cls is None:
                continue
            config = self._validate(path, cls.Config, {} if options is None else options)
            if config is None:
                continue
            self._own_checks(path, cls, config)
            type_name, _ = split_id(component)
            specs[component] = ComponentSpec(component, kind, type_name, cls, config, self._problems.line(path))
        return classes, specs

    def _class(self, kind: Kind, component: str) -> type[Component] | None:
        try:
            type_name, _ = split_id(component)
            return self._registry.load(kind, type_name, self._file.parent)
        except (ValueError, ConfigError) as error:
            self._problems.error((kind.value, component), str(error))
            return None

    def _own_checks(self, path: YamlPath, cls: type[Component], config: Any) -> None:
        try:
            for below, text in cls.problems(config):
                self._problems.error((*path, *below), text)
            for below, text in cls.warnings(config):
                self._problems.warn((*path, *below), text)
        except Exception as error:  # noqa: BLE001 - a custom component's code; whatever it raises is its own problem
            self._problems.error(path, f"the component could not check its options: {type(error).__name__}")

    def _service(self) -> tuple[ServiceOptions | None, dict[str, PipelineSpec]]:
        tree = dict(self._mapping(("service",)))
        declared = self._mapping(("service", "pipelines"))
        tree.pop("pipelines", None)
        pipelines: dict[str, PipelineSpec] = {}
        options: dict[str, PipelineOptions] = {}
        for pipeline, value in declared.items():
            path = ("service", "pipelines", pipeline)
            try:
                signal = pipeline_signal(pipeline)
            except ValueError as error:
                self._problems.error(path, str(error))
                continue
            valid = self._validate(path, PipelineOptions, {} if value is None else value)
            if isinstance(valid, PipelineOptions):
                options[pipeline] = valid
                pipelines[pipeline] = PipelineSpec(
                    pipeline,
                    signal,
                    valid.receivers,
                    valid.processors,
                    valid.exporters,
                    self._problems.line(path),
                )
        readable = isinstance(self._document.tree.get("service", {}), dict | None)
        if not declared and readable and not self._is_broken(("service", "pipelines")):
            self._problems.error(("service", "pipelines"), "expected at least one pipeline, got none")
        service = self._validate(("service",), ServiceOptions, tree)
        if not isinstance(service, ServiceOptions):
            return None, pipelines
        return service.model_copy(update={"pipelines": options}), pipelines

    def _mapping(self, path: YamlPath) -> dict[str, Any]:
        """The mapping at `path`, empty when there is none; anything else is a problem."""
        value: Any = self._document.tree
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        if not self._is_broken(path):
            found = found_text(value, self._document.origins.get(path), shown=False)
            self._problems.error(path, f"expected a mapping, got {found}")
        return {}

    def _is_broken(self, path: YamlPath) -> bool:
        """Whether a problem at `path` or above it was told already, by the parser."""
        return any(path[: len(broken)] == broken for broken in self._document.broken)

    def _validate(self, path: YamlPath, model: type[BaseModel], tree: Any) -> BaseModel | None:
        """`tree` as `model`, or None with the problems told."""
        try:
            booleans = list(booleans_for_numbers((model,), tree))
            for misplaced in booleans:
                self._problems.error((*path, *misplaced), "expected a number, got a truth value")
            valid = self._attempt(path, model, tree)
        except ValidationError as invalid:
            self._tell(path, model, tree, invalid)
            return None
        except Exception as error:  # noqa: BLE001 - a custom component's validators; whatever they raise is theirs
            self._problems.error(path, f"the component could not read its options: {type(error).__name__}")
            return None
        return None if booleans else valid

    def _tell(self, path: YamlPath, model: type[BaseModel], tree: Any, invalid: ValidationError) -> None:
        """Every error of `invalid` that the parser hasn't told already, one for each place."""
        told: set[YamlPath] = set()
        for error in invalid.errors(include_url=False):
            below, text = sentence(error, model, tree, lambda at: self._document.origins.get((*path, *at)))
            full = (*path, *below)
            if self._is_broken(full) or _counts_only_valid_items(error):
                continue
            unknown = error["type"] == "extra_forbidden"
            if unknown or full not in told:
                line = self._problems.line((*full, str(error["loc"][-1]))) if unknown else None
                self._problems.error(full, text, line)
            told.add(full)

    def _attempt(self, path: YamlPath, model: type[BaseModel], tree: Any) -> BaseModel:
        """Validate; where a substituted value was typed (`${env:PORT}` as a number) and a text is wanted,
        do it once more with the text as it came, as the Collector does.
        """
        try:
            return model.model_validate(tree)
        except ValidationError as invalid:
            changed = False
            for error in invalid.errors(include_url=False):
                below, _ = sentence(error, model, tree, lambda at: self._document.origins.get((*path, *at)))
                origin = self._document.origins.get((*path, *below))
                if origin is not None and origin.whole and not isinstance(error["input"], str | dict | list):
                    changed = _put(tree, below, origin) or changed
            if not changed:
                raise
            return model.model_validate(tree)


def _counts_only_valid_items(error: ErrorDetails) -> bool:
    """Whether pydantic misses items that are there, but are wrong: each of them has its own message."""
    found = error["input"]
    return error["type"] == "too_short" and isinstance(found, list) and len(found) >= error["ctx"]["min_length"]


def _put(tree: Any, path: YamlPath, origin: Expansion) -> bool:
    """Replace the typed value at `path` by its text. False where there is no such place."""
    for part in path[:-1]:
        tree = tree[part]
    if not path or not isinstance(tree, dict | list):
        return False
    tree[path[-1]] = origin.text  # type: ignore[index]  # a path fits the tree it was made for
    return True


def _readers(
    components: Mapping[Kind, Mapping[str, ComponentSpec]], pipelines: Mapping[str, PipelineSpec]
) -> dict[str, tuple[Reader, ...]]:
    kept = {
        id_ for kind in (Kind.PROCESSORS, Kind.CONNECTORS) for id_, spec in components[kind].items() if _is_kept(spec)
    }
    return {
        connector: tuple(
            Reader(line.id, line.signal, journal=not kept.isdisjoint((*line.processors, *line.exporters)))
            for line in pipelines.values()
            if connector in line.receivers
        )
        for connector in components[Kind.CONNECTORS]
    }


def _is_kept(spec: ComponentSpec) -> bool:
    """Whether it has verdicts, or a state, that the journal of its log keeps."""
    if issubclass(spec.cls, Lookahead):
        return not issubclass(spec.cls, VerdictFollower)
    return issubclass(spec.cls, (Stateful, DerivingConnector))
