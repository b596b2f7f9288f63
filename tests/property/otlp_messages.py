"""Random OTLP messages of every signal, and the many ways in which protobuf lets one be written."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
ID_SIZES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
TEXTS = (
    "",
    "a",
    "service.name",
    "ünïcödé",
    "😀",
    'quote " and \\',
    "line\nfeed\ttab\r\0\x1f\x7f",
    "x" * 130,
    "\u2028/",
)
DOUBLES = (0.0, -0.0, 1.0, 1.5, -1e-7, 1e300, 5e-324, 0.1, math.nan, math.inf, -math.inf, 2.0**63)
UNKNOWN = (
    b"\xb8\x3f\x05",  # field 1015, varint
    b"\xfb\x3e\x08\x01\x0b\x0c\xfc\x3e",  # field 1007, a group with a group in it
    b"\xbd\x3e\x01\x02\x03\x04",  # field 999, 32 bits
    b"\xc2\x3e\x03abc",  # field 1000, bytes
)


def random_request(rnd: Random, signal: str) -> Message:
    return fill(rnd, REQUESTS[signal](), 0)


def fill(rnd: Random, message: Message, depth: int) -> Message:
    density = rnd.choice((0.3, 0.6, 0.9))
    members = {group.name: rnd.choice(group.fields).name for group in message.DESCRIPTOR.oneofs}
    for field in message.DESCRIPTOR.fields:
        group = field.containing_oneof
        outer = depth < 3 and field.message_type is not None
        if (group is not None and members[group.name] != field.name) or not (outer or rnd.random() < density):
            continue
        if field.message_type is None:
            values = [scalar(rnd, field) for _ in range(rnd.randrange(4) if field.is_repeated else 1)]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])
        elif depth < 11:
            child = getattr(message, field.name)
            if field.is_repeated:
                for _ in range(rnd.choice((1, 2, 3)) if outer else rnd.randrange(3)):
                    fill(rnd, child.add(), depth + 1)
            else:
                child.SetInParent()
                fill(rnd, child, depth + 1)
    return message


def scalar(rnd: Random, field: FieldDescriptor) -> object:
    if field.type == field.TYPE_BYTES:
        size = ID_SIZES.get(field.name)
        return rnd.randbytes(rnd.choice((size, size, size, 0)) if size else rnd.randrange(7))
    if field.type == field.TYPE_STRING:
        return rnd.choice(TEXTS)
    if field.type == field.TYPE_BOOL:
        return rnd.random() < 0.5
    if field.type == field.TYPE_DOUBLE:
        return rnd.choice(DOUBLES)
    if field.type == field.TYPE_ENUM:
        return rnd.choice((0, 1, 2, 77, -1, 2**31 - 1))
    wide = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    signed = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    bits = (64 if wide else 32) - signed
    return rnd.choice((0, 1, 127, 300, 2**bits - 1, -(2**bits) if signed else 0))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def untidy(rnd: Random, message: Message) -> bytes:
    """The message with fields out of order, singular ones repeated, numbers unpacked, unknown ones put in between.

    What it then means is for protobuf's parser to say.
    """
    pieces = []
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if field.message_type is not None:
                body = untidy(rnd, one)
                pieces.append(varint(field.number << 3 | 2) + varint(len(body)) + body)
                if not field.is_repeated and rnd.random() < 0.15:
                    pieces.append(pieces[-1])
                continue
            alone = type(message)()
            if field.is_repeated:
                getattr(alone, field.name).append(one)
            else:
                setattr(alone, field.name, one)
            piece = alone.SerializeToString()
            if field.is_repeated and len(piece) == 10 and rnd.random() < 0.5:
                piece = varint(field.number << 3 | 1) + struct.pack("8s", piece[2:])
            pieces.append(piece)
            if rnd.random() < 0.05:
                pieces.insert(0, piece)
    if rnd.random() < 0.2:
        pieces.insert(rnd.randint(0, len(pieces)), rnd.choice(UNKNOWN))
    if rnd.random() < 0.4:
        rnd.shuffle(pieces)
    return b"".join(pieces)


def canonical(message: Message) -> bytes:
    """Bytes that are equal when the messages are, unknown fields and NaN included."""
    return message.SerializeToString(deterministic=True)
