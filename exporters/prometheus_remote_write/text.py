"""Numbers and nested values as label values."""

from __future__ import annotations

import base64
import math
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


@lru_cache(4096)
def bound_text(value: float) -> bytes:
    """A bucket's upper bound or a quantile: the shortest decimal that reads as `value`, never with an exponent."""
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"+Inf" if value > 0 else b"-Inf"
    text = format(Decimal(repr(value)), "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()


@lru_cache(1024)
def value_text(attribute: bytes) -> bytes:
    """The value of a KeyValue on the wire that is none of string, bool and int: a number, base64, or JSON.

    Raises `ValueError` where it is no KeyValue.
    """
    try:
        value = KeyValue.FromString(attribute).value
    except DecodeError:
        raise ValueError("the request is not OTLP") from None
    kind = value.WhichOneof("value")
    if kind == "double_value":
        return _double_text(value.double_value)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value)
    if kind in {"array_value", "kvlist_value"}:
        return orjson.dumps(_plain(value))
    return b""


def _double_text(value: float) -> bytes:
    if not math.isfinite(value):
        return bound_text(value)
    # As JSON has it: an exponent for what is very small or very large.
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return bound_text(value)
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent):+d}".encode()


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: _plain(each.value) for each in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)
