"""What a component's `Config` is made of: the strict base model and the field types of the Collector's YAML dialect.

Durations are `int` nanoseconds in code and `10s`, `1m30s`, `250ms` in YAML; sizes are `int` bytes and `64MiB`, `10 GB`
or a bare number of bytes. Both refuse what they don't understand with a sentence that says what was expected.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PlainSerializer, SecretStr

_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)(ns|us|µs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)\s*([kmgt]?i?b?)", re.IGNORECASE)
_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTES |= {
        _letter: 1000**_power,
        f"{_letter}b": 1000**_power,
        f"{_letter}ib": 1024**_power,
        f"{_letter}i": 1024**_power,
    }


def parse_duration(value: Any) -> int:
    """Nanoseconds of a duration as the Collector writes it (`10s`, `1h30m`, `0`). Raises `ValueError`."""
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 10s, 1m30s or 250ms")  # noqa: TRY004 - pydantic wants ValueError
    if isinstance(value, int) and value == 0:
        return 0
    text = value.strip() if isinstance(value, str) else ""
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("expected a duration such as 10s, 1m30s or 250ms (a number alone has no unit)")
    return _bounded(
        sum(float(number) * _NS[unit] if "." in number else int(number) * _NS[unit] for number, unit in parts)
    )


def format_duration(ns: int) -> str:
    """The shortest exact way to write `ns` in the same dialect."""
    for unit in ("h", "m", "s", "ms", "us"):
        if ns and ns % _NS[unit] == 0:
            return f"{ns // _NS[unit]}{unit}"
    return f"{ns}ns" if ns else "0s"


def parse_size(value: Any) -> int:
    """Bytes of a size such as `64MiB`, `10GB` or a bare number. Raises `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _bounded(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a size such as 64MiB, 10GB or a number of bytes")
    number = float(match[1]) if "." in match[1] else int(match[1])
    return _bounded(number * _BYTES[match[2].lower()])


def format_size(size: int) -> str:
    """The shortest exact way to write `size` in the same dialect."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return str(size)


# What the JSON Schema says of both.
_DurationText = Annotated[str, Field(pattern=r"^((\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+|0)$")]
_SizeText = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?\s*[kmgtKMGT]?[iI]?[bB]?)$")]


def _bounded(value: float) -> int:
    """`value` as a signed 64-bit number, in which everybody counts bytes and nanoseconds."""
    if value >= 2**63:
        raise ValueError("expected less: this exceeds 64 bits")
    return round(value)


Duration = Annotated[
    int,
    BeforeValidator(parse_duration, json_schema_input_type=_DurationText | Literal[0]),
    PlainSerializer(format_duration, return_type=str),
]
"""Nanoseconds in code, `10s` in YAML. Give defaults as numbers of nanoseconds, or with `seconds()`."""

Size = Annotated[
    int,
    BeforeValidator(parse_size, json_schema_input_type=_SizeText | NonNegativeInt),
    PlainSerializer(format_size, return_type=str),
]
"""Bytes in code, `64MiB` in YAML."""

Secret = SecretStr
"""A value that no log, error or `print-config` ever shows."""


def seconds(value: float) -> int:
    """Nanoseconds of `value` seconds, for defaults."""
    return round(value * 10**9)


def option(default: Any = ..., *, about: str, **limits: Any) -> Any:
    """A documented field. `about` is one sentence; it appears in the JSON Schema and in the component's page."""
    return Field(default, description=about, **limits)


class Options(BaseModel):
    """Base of every component's `Config`: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
