"""Where component classes come from: entry points, `package.module:Class`, or `./file.py:Class`.

Nothing is imported before the YAML names it. Whatever can't be loaded ends as a `ConfigError` whose one
sentence says what to do about it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from collector.api import Connector, Exporter, Extension, Processor, Receiver
from collector.compiled import advice, missing_extension
from collector.component.kind import Kind
from collector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from collector.component.base import Component

__all__ = ["Available", "Kind", "Registry"]

_BASES: dict[Kind, type[Component]] = {
    Kind.RECEIVERS: Receiver,
    Kind.PROCESSORS: Processor,
    Kind.EXPORTERS: Exporter,
    Kind.CONNECTORS: Connector,
    Kind.EXTENSIONS: Extension,
}
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_FILE = re.compile(r"(\./|\.\./|/)[^:]*\.py:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Available:
    """One registered type: its class, or the sentence that says why it can't be loaded."""

    kind: Kind
    type_name: str
    cls: type[Component] | None
    error: str = ""


def _installed(kind: Kind) -> Iterable[EntryPoint]:
    return entry_points(group=f"butterfly.{kind.value}")


class Registry:
    """Finds component classes by kind and type. `discover` gives a kind's entry points."""

    def __init__(self, discover: Callable[[Kind], Iterable[EntryPoint]] = _installed) -> None:
        self._discover = discover
        self._points: dict[Kind, dict[str, EntryPoint]] = {}

    def known(self, kind: Kind) -> list[str]:
        """The registered types of `kind`, sorted; nothing is imported."""
        return sorted(self._registered(kind))

    def load(self, kind: Kind, type_name: str, folder: Path = Path()) -> type[Component]:
        """The class of `type_name`. A file's path is relative to `folder`, the YAML's own.

        Raises `ConfigError` with one sentence.
        """
        try:
            loaded = self._find(kind, type_name, folder)
        except ImportError as error:
            module = missing_extension(error)
            if module is not None:
                raise _problem(f"{kind.word} {type_name!r}: {advice(module)}") from error
            raise _problem(f"{kind.word} {type_name!r} can't be imported: {_cause(error)}") from error
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise _problem(f"{kind.word} {type_name!r} can't be imported: {_cause(error)}") from error
        base = _BASES[kind]
        name = f"collector.api.{base.__name__}"
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise _problem(f"{type_name!r} is not a {kind.word}: its class must derive from {name}")
        return loaded

    def available(self) -> list[Available]:
        """Every registered type, loaded, in the order of kinds and names."""
        found = []
        for kind in Kind:
            for type_name in self.known(kind):
                try:
                    found.append(Available(kind, type_name, self.load(kind, type_name)))
                except ConfigError as error:
                    found.append(Available(kind, type_name, None, str(error)))
        return found

    def _registered(self, kind: Kind) -> dict[str, EntryPoint]:
        if kind not in self._points:
            self._points[kind] = {point.name: point for point in self._discover(kind)}
        return self._points[kind]

    def _find(self, kind: Kind, type_name: str, folder: Path) -> object:
        if _FILE.fullmatch(type_name):
            file, _, class_name = type_name.rpartition(":")
            return _member(_import_file(folder / file), class_name, type_name)
        if _MODULE.fullmatch(type_name):
            module, _, class_name = type_name.partition(":")
            if module.endswith(".py"):
                raise _problem(f"there is no module {module!r} (a file's path begins with ./, ../ or /)")
            return _member(importlib.import_module(module), class_name, type_name)
        point = self._registered(kind).get(type_name)
        if point is None:
            raise _problem(self._unknown(kind, type_name))
        return point.load()

    def _unknown(self, kind: Kind, type_name: str) -> str:
        known = self.known(kind)
        sentence = f"unknown {kind.word} type {type_name!r}"
        close = get_close_matches(type_name, known, n=1)
        if close:
            sentence += f", did you mean {close[0]!r}?"
        elsewhere = [other for other in Kind if other is not kind and type_name in self._registered(other)]
        if elsewhere:
            sentence += f"; {type_name!r} is registered under {elsewhere[0].value}"
        if not any(self._registered(other) for other in Kind):
            return f"{sentence}; no component is registered: install the gateway with `make` or `pip install`"
        return f"{sentence} (known: {', '.join(known) or 'none'})"


def _problem(sentence: str) -> ConfigError:
    return ConfigError([sentence])


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise _problem(f"there is no file {str(file)!r}")
    resolved = file.resolve()
    # One module per file, whatever path leads to it, and never one that shadows an installed package.
    name = f"butterfly_file_{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise _problem(f"{str(file)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _member(module: ModuleType, class_name: str, type_name: str) -> object:
    if hasattr(module, class_name):
        return getattr(module, class_name)
    classes = [name for name, value in vars(module).items() if isinstance(value, type)]
    close = get_close_matches(class_name, classes, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    raise _problem(f"{type_name!r}: there is no class {class_name!r} in it{hint}")


def _cause(error: BaseException) -> str:
    """The exception with the file and line where it arose (outside of the import machinery)."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "/importlib/" not in frame.filename and frame.filename != __file__
    ]
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {error}"
