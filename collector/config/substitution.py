"""`${env:NAME}` and its kin in the scalars of the YAML, as the OpenTelemetry Collector reads them.

    ${env:NAME}  ${NAME}        the variable; an error when it isn't set
    ${env:NAME:-text}           the variable, or `text` (up to the brace) when it isn't set
    ${file:PATH}                the file's text without the newline at its end; relative to the YAML's folder
    $$                          one dollar sign

What comes in is never expanded again: a `$` in a variable's value is a `$`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILE = 64 << 10
"""Largest file that `${file:PATH}` takes, in bytes."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPECTED = "expected ${env:NAME}, ${env:NAME:-default} or ${file:PATH}; write $$ for a dollar sign"


class SubstitutionError(ValueError):
    """The expression can't be read or has no value. The message holds no value."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """An expanded scalar.

    `whole` says that it was one expression and nothing else, so that its value is typed like YAML; `sources`
    are the expressions without their defaults (`${env:NAME}`).
    """

    text: str
    whole: bool
    sources: tuple[str, ...]


def expand(text: str, env: Mapping[str, str], folder: Path) -> Expansion:
    """`text` with every expression replaced. Raises `SubstitutionError`."""
    parts: list[str] = []
    sources: list[str] = []
    at = 0
    whole = False
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            at = dollar + 2
        elif following == "{":
            end = text.find("}", dollar)
            if end < 0:
                raise SubstitutionError(f"'${{' has no closing brace; {_EXPECTED}")
            value, source = _value(text[dollar + 2 : end], env, folder)
            parts.append(value)
            sources.append(source)
            at = end + 1
            whole = dollar == 0 and at == len(text)
        else:
            parts.append("$")
            at = dollar + 1
    parts.append(text[at:])
    return Expansion("".join(parts), whole, tuple(sources))


def _value(body: str, env: Mapping[str, str], folder: Path) -> tuple[str, str]:
    if "${" in body:
        raise SubstitutionError("an expression can't hold another one")
    if body.startswith("file:"):
        return _file(body.removeprefix("file:"), folder), f"${{{body}}}"
    head, has_default, default = body.removeprefix("env:").partition(":-")
    if not _NAME.fullmatch(head):
        raise SubstitutionError(f"this expression isn't understood; {_EXPECTED}")
    if head in env:
        return env[head], f"${{env:{head}}}"
    if has_default:
        return default, f"${{env:{head}}}"
    raise SubstitutionError(
        f"the variable {head} is not set and has no default (${{env:{head}:-default}} gives it one)"
    )


def _file(name: str, folder: Path) -> str:
    if not name:
        raise SubstitutionError(f"this expression names no file; {_EXPECTED}")
    try:
        with (folder / name).open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise SubstitutionError(f"the file {name!r} can't be read: {reason}") from None
    if len(content) > MAX_FILE:
        raise SubstitutionError(f"the file {name!r} is larger than {MAX_FILE >> 10} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SubstitutionError(f"the file {name!r} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
