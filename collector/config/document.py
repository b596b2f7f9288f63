"""The YAML file as a plain tree that remembers its lines and where its values came from.

YAML 1.2's core schema, as the OpenTelemetry Collector reads it: `yes`, `no`, `on`, `off`, dates and `012` are
texts. Anchors, aliases and merge keys work; a key given twice is an error. Everything is bounded: the file,
the depth, the nodes after aliases were followed, and what substitution brings in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from collector.config.substitution import Expansion, SubstitutionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from collector.config.problems import Path, Problems

MAX_FILE = 1 << 20
"""Largest configuration file, in bytes."""
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_EXPANDED = 4 << 20

_PLAIN = "plain"
_QUOTED = "quoted"
_STRING_TAG = "tag:yaml.org,2002:str"
_CORE_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_NAMED: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
_RADIX = re.compile(r"0x[0-9a-fA-F]{1,32}|0o[0-7]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
_QUOTED_WORD = re.compile(r"(undefined (?:alias|tag handle)) '.*'")  # `token: *secret` is one
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")


def typed(text: str) -> Any:
    """The value of a plain scalar: None, bool, int, float or the text itself."""
    if text in _NAMED:
        return _NAMED[text]
    if _INT.fullmatch(text):
        return int(text)
    if _RADIX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    infinity = _INFINITY.fullmatch(text)
    return float(f"{infinity[1]}inf") if infinity else text


@dataclass(slots=True)
class Document:
    """`tree` holds dicts with text keys, lists and scalars."""

    tree: dict[str, Any]
    origins: dict[Path, Expansion] = field(default_factory=dict)
    """Every scalar that holds something substituted."""
    broken: set[Path] = field(default_factory=set)
    """Scalars with a reported problem; their value in the tree means nothing."""


class _TooBigError(Exception):
    """A bound was exceeded."""


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's composer alone: it makes nodes, never Python objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooBigError(f"nested more than {MAX_DEPTH} levels deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]  # types-PyYAML leaves it out


def parse(text: str, expand: Callable[[str], Expansion], problems: Problems) -> Document:
    """Read `text`, expanding scalars with `expand`; problems and lines go to `problems`.

    Raises `ConfigError` where there is nothing to go on with.
    """
    root = _compose(text, problems)
    builder = _Builder(expand, problems)
    try:
        tree = builder.build(root, ())
    except _TooBigError as error:
        problems.error((), f"the document is too large: {error}")
        tree = None
    if tree is None:
        problems.error((), "expected a mapping with receivers, exporters and service, got nothing")
    elif not isinstance(tree, dict):
        problems.error((), "expected a mapping with receivers, exporters and service at the top")
    if not isinstance(tree, dict):
        problems.raise_errors()
    return Document(tree, builder.origins, builder.broken)


def _compose(text: str, problems: Problems) -> Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = _QUOTED_WORD.sub(r"\1", ", ".join(part for part in (error.context, error.problem) if part))
        problems.error((), f"not valid YAML: {reason}", mark.line + 1 if mark else 1)
    except yaml.YAMLError:
        problems.error((), "not valid YAML: it holds a character that YAML doesn't allow")
    except _TooBigError as error:
        problems.error((), f"the document is too large: {error}")
    problems.raise_errors()
    return None


class _Builder:
    """Turns nodes into the tree."""

    def __init__(self, expand: Callable[[str], Expansion], problems: Problems) -> None:
        self.origins: dict[Path, Expansion] = {}
        self.broken: set[Path] = set()
        self._expand = expand
        self._problems = problems
        self._nodes = 0
        self._expanded = 0
        self._open: set[int] = set()

    def build(self, node: Node | None, path: Path) -> Any:
        if node is None:
            return None
        self._count()
        self._problems.lines.setdefault(path, _line(node))
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._fail(path, "an alias leads back to itself", node)
            return None
        if node.tag not in _CORE_TAGS:
            self._fail(path, "YAML tags are not supported here", node)
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Node, path: Path) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._fail(path, "a key must be a text", key_node)
                continue
            key = key_node.value
            if key == "<<" and key_node.tag == _PLAIN:
                continue
            if key in first:
                self._problems.error(
                    path, f"the key {key!r} is given twice, first in line {first[key]}", _line(key_node)
                )
                continue
            first[key] = _line(key_node)
            self._problems.lines[*path, key] = _line(key_node)
            tree[key] = self.build(value_node, (*path, key))
        for key_node, value_node in self._merged(node, path):
            key = key_node.value
            if key not in tree:
                tree[key] = self.build(value_node, (*path, key))
        return tree

    def _merged(self, node: Node, path: Path, depth: int = 0) -> list[tuple[Node, Node]]:
        """The pairs that `<<` brings in, those that win first."""
        if depth > MAX_DEPTH:
            raise _TooBigError("merge keys lead into one another too deeply")
        pairs: list[tuple[Node, Node]] = []
        for key_node, value_node in node.value:
            if not (isinstance(key_node, ScalarNode) and key_node.value == "<<" and key_node.tag == _PLAIN):
                continue
            sources = value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            for source in sources:
                self._count(1 + len(source.value))
                if not isinstance(source, MappingNode):
                    self._fail(path, "a merge key (<<) takes a mapping or a list of mappings", key_node)
                    continue
                pairs += [
                    (key, value)
                    for key, value in source.value
                    if isinstance(key, ScalarNode) and not (key.value == "<<" and key.tag == _PLAIN)
                ]
                pairs += self._merged(source, path, depth + 1)
        return pairs

    def _scalar(self, node: Node, path: Path) -> Any:
        text: str = node.value
        if node.tag not in (_PLAIN, _QUOTED, _STRING_TAG):
            self._fail(path, "YAML tags are not supported here", node)
            return None
        if "$" in text:
            return self._substituted(node, path)
        return typed(text) if node.tag == _PLAIN else text

    def _substituted(self, node: Node, path: Path) -> Any:
        try:
            expansion = self._expand(node.value)
        except SubstitutionError as error:
            self._fail(path, str(error), node)
            return None
        self._expanded += len(expansion.text)
        if self._expanded > MAX_EXPANDED:
            raise _TooBigError("substituted values exceed 4 MiB")
        if expansion.sources:
            self.origins[path] = expansion
        return typed(expansion.text) if expansion.whole and node.tag != _STRING_TAG else expansion.text

    def _count(self, n: int = 1) -> None:
        self._nodes += n
        if self._nodes > MAX_NODES:
            raise _TooBigError(f"more than {MAX_NODES} values, with every alias followed")

    def _fail(self, path: Path, sentence: str, node: Node) -> None:
        self.broken.add(path)
        self._problems.error(path, sentence, _line(node))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
