"""Problems of one file, collected so that all are told at once: `gateway.yaml:12: receivers.otlp: ...`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

from collector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

Path: TypeAlias = tuple[str | int, ...]
"""Where something stands in the YAML: keys and list positions from the root."""


_MOST_NAMES = 200
_LONGEST_WORD = 100


def format_path(path: Path) -> str:
    """`receivers.otlp.policies[2].name`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'abc'?` or nothing: nothing also where there is so much to compare that it would take long."""
    names = list(known)
    close = get_close_matches(word, names, n=1) if len(names) <= _MOST_NAMES and len(word) <= _LONGEST_WORD else []
    return f", did you mean {close[0]!r}?" if close else ""


class Problems:
    """What is wrong (`errors`) and what is odd (`warnings`) in `file`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        """The line of every path of the document; the parser fills it in."""
        self._errors: dict[str, tuple[int, int]] = {}
        self._warnings: dict[str, tuple[int, int]] = {}

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest place above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Path, sentence: str, line: int | None = None) -> None:
        """Something that keeps the gateway from running."""
        self._add(self._errors, path, sentence, line)

    def warn(self, path: Path, sentence: str, line: int | None = None) -> None:
        """Something that runs but is surely not meant."""
        self._add(self._warnings, path, sentence, line)

    @property
    def errors(self) -> tuple[str, ...]:
        """All errors as full sentences, in the order of lines."""
        return tuple(sorted(self._errors, key=self._errors.__getitem__))

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings as full sentences, in the order of lines."""
        return tuple(sorted(self._warnings, key=self._warnings.__getitem__))

    def raise_errors(self) -> None:
        """Raise `ConfigError` with every error, if there is one."""
        if self._errors:
            raise ConfigError(self.errors)

    def _add(self, to: dict[str, tuple[int, int]], path: Path, sentence: str, line: int | None) -> None:
        at = self.line(path) if line is None else line
        place = format_path(path)
        text = f"{self.file}:{at}: {place}: {sentence}" if place else f"{self.file}:{at}: {sentence}"
        # A sentence is one line, whatever a name in the file held.
        text = "".join(char if char.isprintable() else "?" for char in text)
        to.setdefault(text, (at, len(to)))
