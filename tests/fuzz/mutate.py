"""Damage and odd encodings: what a hostile sender, a broken one, or a legal but unusual encoder would send."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

NASTY = (
    b"\x00", b"\x07", b"\x0e", b"\x53\x54", b"\x53", b"\x54", b"\x53\x5b\x5c\x54", b"\x03\x04", b"\x53\x00\x00\x54",
    b"\x53\x03\x04\x54", b"\x53\x07\x54", b"\x50" + b"\xff" * 9 + b"\x01", b"\x50" + b"\xff" * 10 + b"\x01",
    b"\x50" + b"\xff" * 9 + b"\x7f", b"\xf8\xff\xff\xff\x0f\x05", b"\xf8\xff\xff\xff\x1f\x05",
    b"\x0a\xff\xff\xff\xff\x0f", b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0a\x81\x80\x80\x80\x80\x80\x80\x80\x80\x02x",
    b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
    b"\x12\xff\xff\xff\xff\x07", b"\x1a\x02\xc3\x28", b"\x1a\x03\xed\xa0\x80", b"\x2a\x02\xc0\x80",
    b"\x1a\x04\xf4\x90\x80\x80", b"\x1a\x04\xf0\x9f\x98\x80", b"\x30" + b"\xff" * 9 + b"\x01",
    b"\x18\x80\x80\x80\x80\x10", b"\x12\x02\x10\x05", b"\x12\x0b\x18" + b"\xff" * 9 + b"\x01",
    b"\x0a\x03abc", b"\x12\x05\x0a\x03xyz", b"\x85\x01abcd", b"\x82\x01\x02hi", b"\xba\x3e\x00",
)  # fmt: skip


def varint(value: int, size: int = 0) -> bytes:
    """`value`, stretched to `size` bytes where that is longer than it needs."""
    out = bytearray()
    while value > 0x7F or len(out) + 1 < size:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def split(data: bytes) -> list[tuple[int, bytes]] | None:
    """The fields of a message as (tag, value; without its length where it has one); None where it isn't one."""
    fields = []
    at = 0
    try:
        while at < len(data):
            tag, at = read(data, at)
            begin = at
            if tag & 7 == 2:
                size, begin = read(data, at)
                at = begin + size
            elif tag & 7 == 0:
                at = read(data, at)[1]
            elif tag & 7 in {1, 5}:
                at += 8 if tag & 7 == 1 else 4
            else:
                return None
            if at > len(data) or tag < 8:
                return None
            fields.append((tag, data[begin:at]))
    except IndexError:
        return None
    return fields


def join(rnd: Random, fields: list[tuple[int, bytes]], oddity: float) -> bytes:
    """The message again; `oddity` is the share of tags and lengths that are longer than they need to be."""
    out = []
    longest = 6 if rnd.random() < 0.1 else 5  # 6 bytes are one too many
    for tag, value in fields:
        out.append(varint(tag, rnd.randint(1, longest) if rnd.random() < oddity else 0))
        if tag & 7 == 2:
            out.append(varint(len(value), rnd.randint(1, longest) if rnd.random() < oddity else 0))
        out.append(value)
    return b"".join(out)


def rearrange(rnd: Random, data: bytes, depth: int = 0) -> bytes:
    """A legal or nearly legal other encoding: order, repeats, odd varints, unknown fields, other wire types."""
    fields = split(data)
    if not fields or depth > 14:
        return data
    for _ in range(rnd.choice((0, 1, 1, 2))):
        at = rnd.randrange(len(fields))
        choice = rnd.randrange(9)
        tag, value = fields[at]
        if choice == 0:
            rnd.shuffle(fields)
        elif choice == 1:
            fields.insert(rnd.randrange(len(fields) + 1), (tag, value))
        elif choice == 2:
            del fields[at]
            if not fields:
                return b""
        elif choice == 3:
            fields.insert(at, (rnd.randrange(1, 20) << 3 | 2, rnd.choice((b"", b"\xff", value, b"ab"))))
        elif choice == 4:
            fields[at] = (tag & ~7 | 2, value)
        elif choice == 5:
            fields[at] = (tag & ~7, varint(rnd.getrandbits(rnd.choice((1, 7, 32, 64)))))
        elif choice == 6:
            fields[at] = (rnd.randrange(1, 18) << 3 | tag & 7, value)
        elif choice == 7:
            fields.insert(at, (tag & ~7 | 3, join(rnd, fields[:2], 0.1) + varint(tag & ~7 | 4)))
        else:
            cut = rnd.randrange(len(value) + 1)
            if tag & 7 == 2:
                fields[at : at + 1] = [(tag, value[:cut]), (tag, value[cut:])]
    nested = [i for i, (tag, value) in enumerate(fields) if tag & 7 == 2 and value]
    for i in rnd.sample(nested, min(len(nested), rnd.choice((0, 1, 1, 2)))):
        fields[i] = (fields[i][0], rearrange(rnd, fields[i][1], depth + 1))
    if rnd.random() < 0.15:
        at = rnd.randrange(len(fields) + 1)
        return join(rnd, fields[:at], 0.02) + rnd.choice(NASTY) + join(rnd, fields[at:], 0.02)
    return join(rnd, fields, rnd.choice((0, 0, 0.05, 0.5)))


def damage(rnd: Random, data: bytes, other: bytes) -> bytes:
    """Bytes flipped, cut, put in, doubled, or spliced with another message."""
    out = bytearray(data)
    for _ in range(rnd.choice((1, 1, 2, 4))):
        at = rnd.randrange(len(out) + 1)
        choice = rnd.randrange(7)
        if choice == 0 and at < len(out):
            out[at] ^= 1 << rnd.randrange(8)
        elif choice == 1 and at < len(out):
            out[at] = rnd.choice((0, 1, 0x7F, 0x80, 0xFF, rnd.randrange(256)))
        elif choice == 2:
            del out[at:]
        elif choice == 3:
            out[at:at] = rnd.choice(NASTY)
        elif choice == 4:
            out[at:at] = out[at : at + rnd.randrange(40)]
        elif choice == 5:
            begin = rnd.randrange(len(other) + 1)
            out[at:at] = other[begin : begin + rnd.randrange(60)]
        else:
            del out[at : at + rnd.randrange(1, 5)]
    return bytes(out)


def mutate(rnd: Random, data: bytes, other: bytes) -> bytes:
    choice = rnd.random()
    if choice < 0.03:
        return rnd.randbytes(rnd.randrange(60))
    if choice < 0.8:
        for _ in range(rnd.choice((1, 1, 2))):
            data = rearrange(rnd, data)
    if choice > 0.7:
        data = damage(rnd, data, other)
    return data
