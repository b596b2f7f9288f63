"""Random OTLP trace requests with every field that the installed descriptors know."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

TEXTS = (
    "",
    "a",
    "http.route",
    "db.statement",
    "GET /api/v1/cart",
    "ünïcödé",
    "日本語のテキスト",
    "😀" * 9,
    "x" * 140,
    "nul\0",
)
NUMBERS = (0, 1, 2, 3, 127, 128, 255, 2**14, 2**31 - 1)
OUTER = 3  # request, ResourceSpans, ScopeSpans: their children are never left out, or most requests had no span
KEYS = ("service.name", "http.status_code", "error", "peer", "k", "user.id", "")


def generate(rnd: Random) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    fill(rnd, request, 0, rnd.choice((0.2, 0.5, 0.9)))
    return request


def fill(rnd: Random, message: Message, depth: int, density: float) -> None:
    chosen = {group.name: rnd.choice(group.fields).name for group in message.DESCRIPTOR.oneofs}
    for field in message.DESCRIPTOR.fields:
        group = field.containing_oneof
        outer = depth < OUTER and field.message_type is not None
        if (rnd.random() > density and not outer) or (group is not None and chosen[group.name] != field.name):
            continue
        if field.message_type is not None:
            if depth < 12:
                fill_children(rnd, message, field, depth, density)
        elif field.is_repeated:
            getattr(message, field.name).extend(scalar(rnd, field) for _ in range(rnd.randrange(3)))
        else:
            setattr(message, field.name, scalar(rnd, field))


def fill_children(rnd: Random, message: Message, field: FieldDescriptor, depth: int, density: float) -> None:
    child = getattr(message, field.name)
    if not field.is_repeated:
        child.SetInParent()
        fill(rnd, child, depth + 1, density)
        return
    counts = (1, 1, 2) if depth < OUTER else (0, 1, 1, 2, 3) if depth < 7 else (0, 1)
    for _ in range(rnd.choice(counts)):
        fill(rnd, child.add(), depth + 1, density)


def scalar(rnd: Random, field: FieldDescriptor) -> object:
    if field.type == field.TYPE_BYTES:
        size = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}.get(field.name, 5)
        if rnd.random() < 0.2:
            return bytes(rnd.choice((size, size - 1, 0)))
        return rnd.randbytes(size)
    if field.type == field.TYPE_STRING:
        return rnd.choice(KEYS if field.name == "key" else TEXTS)
    if field.type == field.TYPE_BOOL:
        return rnd.random() < 0.5
    if field.type == field.TYPE_DOUBLE:
        return struct.unpack("<d", rnd.randbytes(8))[0] if rnd.random() < 0.3 else float(rnd.choice(NUMBERS))
    if field.type in {field.TYPE_FIXED64, field.TYPE_UINT64}:
        return rnd.choice((rnd.getrandbits(64), 0, 2**64 - 1, 1_718_000_000_000_000_000))
    if field.type in {field.TYPE_FIXED32, field.TYPE_UINT32}:
        return rnd.choice((rnd.getrandbits(32), 0, 2**32 - 1, 0x101))
    return rnd.choice(NUMBERS) * rnd.choice((1, -1))
