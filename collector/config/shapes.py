"""What a place in a component's options may hold, found by walking the pydantic models along a path.

Needed for three things that pydantic's errors don't tell: whether a value there may be shown, which keys
exist, and which parts of an error's location are names of union members and not keys of the YAML.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretBytes, SecretStr

from collector.options import format_duration, format_size, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pydantic.fields import FieldInfo

    from collector.config.problems import Path

_SECRETS = (SecretStr, SecretBytes)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the options: its `path` as the YAML has it, what it may hold, the model that owns it."""

    path: Path
    types: tuple[Any, ...]
    owner: type[BaseModel] | None
    secret: bool
    field: FieldInfo | None = None

    @property
    def showable(self) -> bool:
        """Whether a scalar found here may be printed: its type is known and neither is nor holds a secret."""
        return bool(self.types) and not self.secret and not any(holds_secret(tp) for tp in self.types)


def alternatives(tp: Any) -> tuple[Any, ...]:
    """The members of a (possibly annotated, possibly optional) union; `None` left out."""
    if hasattr(tp, "__value__"):  # a `type X = ...` alias
        return alternatives(tp.__value__)
    origin = get_origin(tp)
    if origin is Annotated:
        return alternatives(get_args(tp)[0])
    if origin in (Union, types.UnionType):
        return tuple(found for member in get_args(tp) for found in alternatives(member))
    return () if tp in (None, type(None)) else (tp,)


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys that the YAML may use for `model`."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def is_model(tp: Any) -> bool:
    """Whether `tp` is a pydantic model."""
    return isinstance(tp, type) and issubclass(tp, BaseModel)


def holds_secret(tp: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a secret is anywhere inside of `tp`. A type that isn't understood counts as one that does."""
    if tp in (Any, object):
        return True
    for member in alternatives(tp):
        if isinstance(member, type) and issubclass(member, _SECRETS):
            return True
        if is_model(member):
            inner = seen | {member}
            if member not in seen and any(holds_secret(f.annotation, inner) for f in member.model_fields.values()):
                return True
        elif get_origin(member) is not Literal and any(holds_secret(arg, seen) for arg in _arguments(member)):
            return True
    return False


def unit_of(spot: Spot) -> Callable[[int], str] | None:
    """How numbers of the field at `spot` are written in the YAML, where it is a duration or a size."""
    metadata = spot.field.metadata if spot.field is not None else []
    for item in metadata:
        if isinstance(item, BeforeValidator) and item.func in (parse_duration, parse_size):
            return format_duration if item.func is parse_duration else format_size
    return None


def locate(model: type[BaseModel], tree: Any, loc: Sequence[str | int]) -> Spot:
    """The place that a pydantic error's `loc` means, in `tree` (what was validated) under `model`."""
    current: tuple[Any, ...] = (model,)
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    path: Path = ()
    secret = False
    tagged = False
    for part in loc:
        if len(current) > 1 and not tagged:
            # Inside of a union, pydantic names the member first; it isn't a key of the YAML.
            current, tagged = _member(current, part), True
            continue
        tagged = False
        models = [tp for tp in current if is_model(tp)]
        field = next((keys_of(tp)[str(part)] for tp in models if part in keys_of(tp)), None)
        owner = models[0] if models else None
        if isinstance(tree, list) and not isinstance(part, int):
            continue
        path = (*path, part)
        current = alternatives(field.annotation) if field is not None else _items(current)
        secret = secret or any(isinstance(tp, type) and issubclass(tp, _SECRETS) for tp in current)
        tree = _step(tree, part)
    return Spot(path, current, owner, secret, field)


def booleans_for_numbers(current: tuple[Any, ...], tree: Any, path: Path = ()) -> Iterator[Path]:
    """Where `tree` has true or false for a number, which pydantic would take for 1 or 0."""
    if isinstance(tree, bool):
        if any(tp in (int, float) for tp in current) and bool not in current:
            yield path
        return
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        entries = tree.items()
    elif isinstance(tree, list):
        entries = enumerate(tree)
    models = [tp for tp in current if is_model(tp)]
    for key, value in entries:
        fields = [keys_of(tp)[key] for tp in models if key in keys_of(tp)]
        if any(isinstance(item, BeforeValidator) for field in fields for item in field.metadata):
            continue  # it has rules of its own
        inner = tuple(tp for field in fields for tp in alternatives(field.annotation)) or _items(current)
        yield from booleans_for_numbers(inner, value, (*path, key))


def _step(tree: Any, part: str | int) -> Any:
    if isinstance(tree, dict):
        return tree.get(part)
    if isinstance(tree, list) and isinstance(part, int) and part < len(tree):
        return tree[part]
    return None


def _member(current: Iterable[Any], tag: str | int) -> tuple[Any, ...]:
    """The alternatives that a union's tag in an error's location can mean; all of them when none fits."""
    named = tuple(tp for tp in current if _answers_to(tp, tag))
    return named or tuple(current)


def _answers_to(tp: Any, tag: str | int) -> bool:
    if getattr(tp, "__name__", None) == tag:
        return True
    if not is_model(tp):
        return False
    literals = (field.annotation for field in tp.model_fields.values() if get_origin(field.annotation) is Literal)
    return any(tag in get_args(literal) for literal in literals)


def _items(current: Iterable[Any]) -> tuple[Any, ...]:
    """What the members of the containers among `current` may hold."""
    found: tuple[Any, ...] = ()
    for tp in current:
        arguments = _arguments(tp)
        if arguments and get_origin(tp) is not Literal:
            found += alternatives(arguments[-1])
    return found


def _arguments(tp: Any) -> tuple[Any, ...]:
    return tuple(arg for arg in get_args(tp) if arg is not Ellipsis)
