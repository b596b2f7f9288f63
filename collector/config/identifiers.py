"""The IDs of the YAML: `type`, `type/name`, and the signals of pipelines.

The type of a custom component is where its class is, and ends with the class; the name begins at the first
slash after it: `./drop.py:DropHealth/eu` is type `./drop.py:DropHealth`, name `eu`.
"""

from __future__ import annotations

import re

from collector.batch import Signal
from collector.config.problems import did_you_mean

_CUSTOM = re.compile(r"(?P<type>[^:]+:[A-Za-z_]\w*)(/(?P<name>.+))?")
_PLAIN = re.compile(r"(?P<type>[A-Za-z][A-Za-z0-9_]{0,62})(/(?P<name>.+))?")
_NAME = re.compile(r"[^\s,]{1,128}")


def split_id(text: str) -> tuple[str, str]:
    """Type and name (empty when there is none) of a component's ID. Raises `ValueError`."""
    match = (_CUSTOM if ":" in text else _PLAIN).fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ID: expected type, type/name, package.module:Class or ./file.py:Class")
    name = match["name"] or ""
    if name and not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not an ID: its name may not hold blanks or commas")
    return match["type"], name


def pipeline_signal(text: str) -> Signal:
    """The signal of a pipeline's ID (`traces`, `traces/name`). Raises `ValueError`."""
    word, slash, name = text.partition("/")
    known = [signal.value for signal in Signal]
    if word not in known:
        hint = did_you_mean(word, known)
        raise ValueError(f"a pipeline is named after its signal: traces, metrics or logs, got {word!r}{hint}")
    if slash and not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: a pipeline's name may not be empty or hold blanks or commas")
    return Signal(word)
