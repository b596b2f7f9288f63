"""pydantic's errors as plain sentences: what was expected, what was found, never the value of a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args

from collector.config.problems import did_you_mean
from collector.config.shapes import Spot, is_model, keys_of, locate, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from collector.config.problems import Path
    from collector.config.substitution import Expansion

_TEXT = "expected a text"
_WHOLE = "expected a whole number"
_NUMBER = "expected a number"
_BOOL = "expected true or false"
_LIST = "expected a list"
_MAPPING = "expected a mapping"
_EXPECTED = {
    "string_type": _TEXT,
    "path_type": _TEXT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "expected a finite number",
    "bool_type": _BOOL,
    "bool_parsing": _BOOL,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "none_required": "expected nothing",
}
_LIMITS = {
    "greater_than": ("gt", "expected more than"),
    "greater_than_equal": ("ge", "expected at least"),
    "less_than": ("lt", "expected less than"),
    "less_than_equal": ("le", "expected at most"),
    "multiple_of": ("multiple_of", "expected a multiple of"),
}
_LENGTHS = {
    "too_short": ("min_length", "at least", "item"),
    "too_long": ("max_length", "at most", "item"),
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
}
_KINDS = (
    (dict, "a mapping"),
    (list, "a list"),
    (bool, "a truth value"),  # before int, which it is one of
    ((int, float), "a number"),
    (str, "a text"),
)
_SHOWN = 60
_USERINFO = re.compile(r"://.*@")  # a URL that isn't taken may have a password in it
"""Characters of a wrong value that are shown."""


def sentence(
    error: ErrorDetails, model: type[BaseModel], tree: Any, origin: Callable[[Path], Expansion | None]
) -> tuple[Path, str]:
    """Where (below the component) and what is wrong, for one error of validating `tree` as `model`.

    `origin(path)` tells where a value came from when it was substituted.
    """
    spot = locate(model, tree, error["loc"])
    kind = error["type"]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        return spot.path[:-1], _unknown_key(spot)
    if kind == "missing":
        about = ((spot.field.description if spot.field is not None else None) or "").rstrip(".")
        return spot.path, f"required, but missing ({about})" if about else "required, but missing"
    if kind == "union_tag_not_found":
        key = str(context.get("discriminator", "")).strip("'")
        return spot.path, f"the key {key!r} is missing (one of {', '.join(_tags(spot, key))})"
    if kind == "union_tag_invalid":
        key = str(context.get("discriminator", "")).strip("'")
        path = (*spot.path, key)
        tags = _tags(spot, key)
        found = error["input"].get(key) if isinstance(error["input"], dict) else None
        hint = did_you_mean(str(found), tags)
        return (
            path,
            f"expected one of {', '.join(tags)}; got {found_text(found, origin(path), shown=True)}{hint}",
        )
    got = found_text(error["input"], origin(spot.path), shown=spot.showable)
    return spot.path, _expectation(error, spot, context, got)


def _expectation(error: ErrorDetails, spot: Spot, context: Mapping[str, Any], got: str) -> str:
    kind = error["type"]
    if kind in _EXPECTED:
        hint = ' (put it in "quotes")' if _EXPECTED[kind] is _TEXT and _is_scalar(error["input"]) else ""
        return f"{_EXPECTED[kind]}{hint}, got {got}"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        written = unit_of(spot)
        # A validator has made a number of it by now; say it as the YAML does.
        found = got if written is None or not spot.showable or not got.isdigit() else written(int(got))
        limit = _number(context[key]) if written is None else written(context[key])
        return f"{words} {limit}, got {found}"
    if kind in _LENGTHS:
        key, words, unit = _LENGTHS[kind]
        number = context[key]
        return f"expected {words} {number} {unit}{'' if number == 1 else 's'}"
    if kind in ("literal_error", "enum"):
        choices = _choices(spot)
        expected = ", ".join(choices) if choices else str(context.get("expected", ""))
        hint = did_you_mean(error["input"], choices) if isinstance(error["input"], str) and spot.showable else ""
        return f"expected one of {expected}; got {got}{hint}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if spot.secret or (isinstance(error["input"], str) and error["input"] and not spot.showable):
        # The message is the component's own, or pydantic's about the value: it may quote a secret.
        message = "is not valid" if _quotes(message, error["input"]) else message
    message = message.replace("Input should be ", "expected ")
    return f"{message}, got {got}" if message.startswith("expected") else message


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def found_text(value: Any, origin: Expansion | None, *, shown: bool) -> str:
    """What was found, for a person: the value itself only when it may be `shown` and stands in the file."""
    if origin is not None:
        return f"the value of {' and '.join(dict.fromkeys(origin.sources))}"
    name = next((name for tp, name in _KINDS if isinstance(value, tp)), "nothing")
    if not shown or value is None or isinstance(value, dict | list):
        return name
    text = repr(value).lower() if isinstance(value, bool) else _USERINFO.sub("://[REDACTED]@", repr(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _unknown_key(spot: Spot) -> str:
    known = list(keys_of(spot.owner)) if spot.owner is not None else []
    word = str(spot.path[-1])
    return f"unknown key {word!r}{did_you_mean(word, known)} (known: {', '.join(known) or 'none'})"


def _tags(spot: Spot, key: str) -> list[str]:
    tags: list[str] = []
    for tp in spot.types:
        if is_model(tp) and key in keys_of(tp):
            tags += [str(value) for value in get_args(keys_of(tp)[key].annotation)]
    return tags


def _choices(spot: Spot) -> list[str]:
    found: list[str] = []
    for tp in spot.types:
        if isinstance(tp, type) and hasattr(tp, "__members__"):
            found += [str(member.value) for member in tp.__members__.values()]
        else:
            found += [str(value) for value in get_args(tp)]
    return found


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _quotes(message: str, value: Any) -> bool:
    return not isinstance(value, str) or value in message or repr(value) in message
