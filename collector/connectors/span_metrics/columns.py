"""What of a span makes its series: texts by where they are in the payload, and two small numbers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collector.connectors.span_metrics.options import DIMENSIONS
from collector.wire import find_field, find_text, resource_bodies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from collector.connectors.span_metrics.interner import Texts
    from collector.connectors.span_metrics.options import SpanMetricsOptions
    from collector.wire import SpanIndex

_SERVICE = "service.name"
_NAME, _STATE, _ATTRIBUTES = 5, 3, 9  # fields of Span
_RESOURCE_ATTRIBUTES = 1
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class Columns:
    """One value a span, for `Interner.number`. Texts are in `payload`, which has the defaults behind the request."""

    payload: bytes
    texts: Sequence[Texts]
    integers: Sequence[NDArray[np.int32]]


class Dimensions:
    """Which columns there are, and how a key of theirs is read back."""

    def __init__(self, options: SpanMetricsOptions) -> None:
        counted = [each for each in DIMENSIONS if each not in options.exclude_dimensions]
        self._service = _SERVICE in counted
        self._name = "span.name" in counted
        self._kind = "span.kind" in counted
        self._code = "status.code" in counted
        self._names = [each.name for each in options.dimensions]
        self._keys = [name.encode() for name in self._names]
        self._defaults = [each.default.encode() for each in options.dimensions]

    def columns(self, payload: bytes, index: SpanIndex) -> Columns:
        """Those of every span of the payload. Raises `Malformed`."""
        texts: list[Texts] = []
        none = np.zeros(index.count, np.uint32)
        bodies = resource_bodies(payload) if self._service or self._keys else (none, none)
        if self._service:
            texts.append(_of_resource(payload, bodies, _SERVICE.encode(), index.resource))
        if self._name:
            texts.append(find_field(payload, index.offset, index.length, _NAME))
        end = len(payload)
        for key, default in zip(self._keys, self._defaults, strict=True):
            at, size = find_text(payload, index.offset, index.length, _ATTRIBUTES, key)
            if not size.all():
                instead_at, instead_size = _of_resource(payload, bodies, key, index.resource)
                at, size = np.where(size, at, instead_at), np.where(size, size, instead_size)
                at[size == 0], size[size == 0] = end, len(default)
            texts.append((at, size))
            end += len(default)
        integers = [_known(index.kind, _KINDS) if self._kind else none.view(np.int32)]
        integers.append(_known(index.status, _CODES) if self._code else none.view(np.int32))
        return Columns(b"".join((payload, *self._defaults)) if end > len(payload) else payload, texts, integers)

    def read(self, key: bytes) -> tuple[str, dict[str, str]]:
        """The service's name and the attributes that a key stands for."""
        at = 0
        texts = []
        for _ in range(self._service + self._name + len(self._keys)):
            (size,) = struct.unpack_from("<I", key, at)
            texts.append(key[at + 4 : at + 4 + size].decode(errors="replace"))
            at += 4 + size
        kind, code = struct.unpack_from("<ii", key, at)
        attributes: dict[str, str] = {}
        service = texts.pop(0) if self._service else ""
        if self._service:
            attributes[_SERVICE] = service
        if self._name:
            attributes["span.name"] = texts.pop(0)
        if self._kind:
            attributes["span.kind"] = f"SPAN_KIND_{_KINDS[kind]}"
        if self._code:
            attributes["status.code"] = f"STATUS_CODE_{_CODES[code]}"
        attributes |= {name: text for name, text in zip(self._names, texts, strict=True) if text}
        return service, attributes


def states(payload: bytes, index: SpanIndex) -> Texts:
    """Where the tracestate of each span is."""
    return find_field(payload, index.offset, index.length, _STATE)


def _of_resource(payload: bytes, bodies: Texts, key: bytes, resource: NDArray[np.uint32]) -> Texts:
    at, size = find_text(payload, *bodies, _RESOURCE_ATTRIBUTES, key)
    return at[resource], size[resource]


def _known(numbers: NDArray[np.int32], words: tuple[str, ...]) -> NDArray[np.int32]:
    """With 0 in the place of numbers that have no word, so that no two series read the same."""
    return np.where((numbers >= 0) & (numbers < len(words)), numbers, np.int32(0))
