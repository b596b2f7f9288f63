"""Attribute values as Python has them and as protobuf has them, for the tests of views."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

if TYPE_CHECKING:
    from random import Random


def plain(value: AnyValue) -> Any:
    member = value.WhichOneof("value")
    if member == "array_value":
        return [plain(one) for one in value.array_value.values]
    if member == "kvlist_value":
        return {one.key: plain(one.value) for one in value.kvlist_value.values}
    return None if member in (None, "string_value_strindex") else getattr(value, member)


def any_value(value: Any) -> AnyValue:
    out = AnyValue()
    if isinstance(value, bool):
        out.bool_value = value
    elif isinstance(value, list):
        out.array_value.values.extend([any_value(one) for one in value])
        out.array_value.SetInParent()
    elif isinstance(value, dict):
        out.kvlist_value.values.extend([KeyValue(key=key, value=any_value(one)) for key, one in value.items()])
        out.kvlist_value.SetInParent()
    elif value is not None:
        member = {str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}[type(value)]
        setattr(out, member, value)
    return out


def as_dict(attributes: Any) -> dict[str, Any]:
    return {one.key: plain(one.value) for one in attributes}


def shown(value: Any) -> str:
    return repr(value)  # NaN equals itself here, True differs from 1, and order counts


def random_value(rnd: Random, depth: int = 0) -> Any:
    scalars = (None, True, False, 0, -1, 2**63 - 1, -(2**63), 1.5, -0.0, math.inf, "", "ü", b"", b"\x00\xff")
    if depth > 2 or rnd.random() < 0.7:
        return rnd.choice(scalars)
    children = [random_value(rnd, depth + 1) for _ in range(rnd.randrange(3))]
    return children if rnd.random() < 0.5 else {f"k{i}": child for i, child in enumerate(children)}


def set_attribute(item: Any, key: str, value: Any) -> None:
    new = KeyValue(key=key, value=any_value(value))
    places = [i for i, one in enumerate(item.attributes) if one.key == key]
    if places:
        item.attributes[places[0]].CopyFrom(new)
        delete_places(item, places[1:])
    else:
        item.attributes.append(new)


def delete_places(item: Any, places: list[int]) -> None:
    for i in reversed(places):
        del item.attributes[i]
