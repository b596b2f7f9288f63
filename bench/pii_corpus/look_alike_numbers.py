"""Numbers and identifiers that look like PII and are none."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_EPOCH = datetime(2019, 1, 1, tzinfo=UTC)


def random_moment(rnd: Random) -> datetime:
    return _EPOCH + timedelta(microseconds=rnd.randrange(8 * 365 * 86400 * 10**6))


def hexadecimal(bits: int, rnd: Random) -> str:
    return f"{rnd.getrandbits(bits):0{bits // 4}x}"


def digest(rnd: Random) -> str:
    return rnd.choice(
        (
            hexadecimal(128, rnd),
            hexadecimal(160, rnd),
            hexadecimal(256, rnd),
            f"sha256:{hexadecimal(256, rnd)}",
            hexadecimal(160, rnd)[:7],
        )
    )


def trace_id(rnd: Random) -> str:
    trace, span = hexadecimal(128, rnd), hexadecimal(64, rnd)
    return rnd.choice((trace, span, f"00-{trace}-{span}-01", f"trace_id={trace} span_id={span}", f"req-{span}"))


def random_uuid(rnd: Random) -> str:
    text = str(uuid.UUID(int=rnd.getrandbits(128), version=4))
    return rnd.choice((text, text.upper(), text.replace("-", ""), f"urn:uuid:{text}", f"{{{text}}}"))


def version(rnd: Random) -> str:
    a, b, c, d = (rnd.randrange(20) for _ in range(4))
    return rnd.choice(
        (
            f"{a}.{b}.{c}",
            f"v{a}.{b}.{c}-rc.{d}",
            f"v{a}.{b}.{c}.{d}",
            f"version {a}.{b}.{c}.{d}",
            f"curl/{a}.{b}.{c}.{d}",
            f"Mozilla/5.0 (X11; Linux x86_64) Chrome/{100 + a}.0.{4000 + b}.{c} Safari/537.36",
            f"{a}.{b}.{c}+build.{d}",
            f"react@{a}.{b}.{c}",
            f"golang.org/x/net@v0.{a}.{b}",
            f"pkg-{a}.{b}.{c}.{d}.tar.gz",
            f"release={a}.{b}.{c}.{d}",
            f"postgres:{a}.{b}-alpine",
            f"@types/node@{a}.{b}.{c}",
            f"firmware: {a}.{b}.{c}.{d}",
            f"1.3.6.1.4.1.{a}.{b}.{c}",
        )
    )


def order(rnd: Random) -> str:
    number = rnd.randrange(10 ** rnd.randrange(4, 15))
    return rnd.choice(
        (
            f"ORD-{2020 + rnd.randrange(7)}-{number % 10**6:06d}",
            f"order {number}",
            f"SO{number}",
            f"invoice #{number}",
            f"customer_id={number}",
            f"INV-{number}",
            str(number),
            f"ticket {number % 10**7}",
            f"/orders/{number}/items",
        )
    )


def long_id(rnd: Random) -> str:
    """Sixteen digits and more: a tenth of those that begin as a card does pass Luhn's check."""
    return rnd.choice(
        (str(rnd.randrange(10**15, 10**16)), f"id={rnd.randrange(10**18, 2 * 10**18)}", f"{rnd.randrange(10**20)}")
    )


def floating(rnd: Random) -> str:
    return rnd.choice(
        (
            repr(rnd.random()),
            f"{rnd.random() * 1000:.3f}",
            f"{rnd.random():.12e}",
            f"-{rnd.random() * 10**6:.6f}",
            f"loss={rnd.random():.10f} step={rnd.randrange(10**6)}",
            f"{rnd.randrange(10**9):,}",
            f"{rnd.random() * 100:.2f}%",
            f"[{rnd.random():.6f}, {rnd.random():.6f}, {rnd.random():.6f}]",
        )
    )


def timestamp(rnd: Random) -> str:
    moment = random_moment(rnd)
    seconds = moment.timestamp()
    return rnd.choice(
        (
            str(int(seconds)),
            str(int(seconds * 1000)),
            str(int(seconds * 10**6)),
            str(int(seconds) * 10**9 + rnd.randrange(10**9)),
            moment.isoformat(),
            moment.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3],
            moment.strftime("%d/%b/%Y:%H:%M:%S +0200"),
            moment.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            moment.strftime("%Y%m%dT%H%M%SZ"),
            moment.strftime("%d.%m.%Y %H:%M"),
            moment.strftime("%m/%d/%Y"),
            moment.strftime("%Y%m%d%H%M%S"),
            f"ts={seconds:.6f}",
            moment.strftime("%H:%M:%S.%f"),
            f"{moment:%Y-%m-%d} to {moment + timedelta(days=9):%Y-%m-%d}",
            f"{moment:%d-%m-%Y} {moment:%H.%M}",
        )
    )


def coordinates(rnd: Random) -> str:
    north, east = rnd.uniform(-90, 90), rnd.uniform(-180, 180)
    return rnd.choice(
        (
            f"{north:.6f},{east:.6f}",
            f"{north:.4f} {east:.4f}",
            f"lat={north:.5f}&lon={east:.5f}",
            f"POINT({east:.6f} {north:.6f})",
            f"{abs(int(north))}°{rnd.randrange(60)}'{rnd.randrange(60)}\"N",
        )
    )


def size(rnd: Random) -> str:
    number = rnd.randrange(10 ** rnd.randrange(3, 13))
    return rnd.choice(
        (
            f"{number} bytes",
            f"{number / 1024:.1f} KiB",
            f"read {number} of {number * 2} B",
            f"{number}ns",
            f"bytes=0-{number}",
            f"Content-Length: {number}",
            f"bytes {number}-{number + 999}/{number * 3}",
        )
    )


def isbn(rnd: Random) -> str:
    digits = f"978{rnd.randrange(10**10):010d}"
    ten = f"{rnd.randrange(10**9):09d}X"
    return rnd.choice(
        (
            digits,
            f"{digits[:3]}-{digits[3]}-{digits[4:6]}-{digits[6:12]}-{digits[12]}",
            f"ISBN {digits}",
            f"{ten[0]}-{ten[1:4]}-{ten[4:9]}-{ten[9]}",
        )
    )


def tracking(rnd: Random) -> str:
    number = rnd.randrange(10**8, 10**9)
    return rnd.choice(
        (
            f"1Z{hexadecimal(64, rnd).upper()}",
            f"RR{number}DE",
            f"LX{number}GB",
            f"TBA{number}000",
            f"JD0146{number}00",
            f"SKU-{number % 10**5}-{rnd.choice('ABC')}",
            f"{rnd.choice('AB')}{number % 1000}-{number % 10**6:06d}",
        )
    )


def oid(rnd: Random) -> str:
    return rnd.choice(
        (
            f"1.3.6.1.4.1.{rnd.randrange(10**5)}.{rnd.randrange(99)}",
            f"oid:2.5.{rnd.randrange(99)}.{rnd.randrange(99)}",
            f"2.16.840.1.{rnd.randrange(200)}.{rnd.randrange(9)}",
            f"section 4.{rnd.randrange(9)}.{rnd.randrange(9)}",
            f"{rnd.randrange(256, 999)}.{rnd.randrange(256)}.1.1",
        )
    )


def iban_like(rnd: Random) -> str:
    digits = f"{rnd.randrange(10**18):018d}"
    return rnd.choice(
        (
            f"DE00{digits}",
            f"GB1{digits[:12]}",
            f"AB{digits}",
            f"NO{digits[:6]}",
            f"US12 {digits[:4]} {digits[4:8]} {digits[8:12]}",
        )
    )
