"""What looks like PII and is none: texts in which nothing may be found."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bench.pii_corpus.example import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

_WORDS = ("checkout", "inference", "butterfly", "router", "tensor", "shard", "cache", "worker", "auth", "gateway", "layer")
_HOSTS = ("node-017.dc2.example.com", "api.internal", "ip-10-20-3-44.ec2.internal", "cache.prod.svc.cluster.local:6379")
_EXTENSIONS = ("png", "jpg", "webp", "svg")
_EPOCH = datetime(2019, 1, 1, tzinfo=UTC)


def _moment(rnd: Random) -> datetime:
    return _EPOCH + timedelta(microseconds=rnd.randrange(8 * 365 * 86400 * 10**6))


def _hex(bits: int, rnd: Random) -> str:
    return f"{rnd.getrandbits(bits):0{bits // 4}x}"


def _hash(rnd: Random) -> str:
    return rnd.choice((_hex(128, rnd), _hex(160, rnd), _hex(256, rnd), f"sha256:{_hex(256, rnd)}", _hex(160, rnd)[:7]))


def _trace(rnd: Random) -> str:
    trace, span = _hex(128, rnd), _hex(64, rnd)
    return rnd.choice((trace, span, f"00-{trace}-{span}-01", f"trace_id={trace} span_id={span}", f"req-{span}"))


def _uuid(rnd: Random) -> str:
    text = str(uuid.UUID(int=rnd.getrandbits(128), version=4))
    return rnd.choice((text, text.upper(), text.replace("-", ""), f"urn:uuid:{text}", f"{{{text}}}"))


def _version(rnd: Random) -> str:
    a, b, c, d = (rnd.randrange(20) for _ in range(4))
    return rnd.choice(
        (
            f"{a}.{b}.{c}", f"v{a}.{b}.{c}-rc.{d}", f"v{a}.{b}.{c}.{d}", f"version {a}.{b}.{c}.{d}", f"curl/{a}.{b}.{c}.{d}",
            f"Mozilla/5.0 (X11; Linux x86_64) Chrome/{100 + a}.0.{4000 + b}.{c} Safari/537.36", f"{a}.{b}.{c}+build.{d}",
            f"react@{a}.{b}.{c}", f"golang.org/x/net@v0.{a}.{b}", f"pkg-{a}.{b}.{c}.{d}.tar.gz", f"release={a}.{b}.{c}.{d}",
            f"postgres:{a}.{b}-alpine", f"@types/node@{a}.{b}.{c}", f"firmware: {a}.{b}.{c}.{d}", f"1.3.6.1.4.1.{a}.{b}.{c}",
        )
    )  # fmt: skip


def _order(rnd: Random) -> str:
    number = rnd.randrange(10 ** rnd.randrange(4, 15))
    return rnd.choice(
        (
            f"ORD-{2020 + rnd.randrange(7)}-{number % 10**6:06d}", f"order {number}", f"SO{number}", f"invoice #{number}",
            f"customer_id={number}", f"INV-{number}", str(number), f"ticket {number % 10**7}", f"/orders/{number}/items",
        )
    )  # fmt: skip


def _long_id(rnd: Random) -> str:
    """Sixteen digits and more: a tenth of those that begin as a card does pass Luhn's check."""
    return rnd.choice((str(rnd.randrange(10**15, 10**16)), f"id={rnd.randrange(10**18, 2 * 10**18)}", f"{rnd.randrange(10**20)}"))


def _float(rnd: Random) -> str:
    return rnd.choice(
        (
            repr(rnd.random()), f"{rnd.random() * 1000:.3f}", f"{rnd.random():.12e}", f"-{rnd.random() * 10**6:.6f}",
            f"loss={rnd.random():.10f} step={rnd.randrange(10**6)}", f"{rnd.randrange(10**9):,}", f"{rnd.random() * 100:.2f}%",
            f"[{rnd.random():.6f}, {rnd.random():.6f}, {rnd.random():.6f}]",
        )
    )  # fmt: skip


def _timestamp(rnd: Random) -> str:
    moment = _moment(rnd)
    seconds = moment.timestamp()
    return rnd.choice(
        (
            str(int(seconds)), str(int(seconds * 1000)), str(int(seconds * 10**6)), str(int(seconds) * 10**9 + rnd.randrange(10**9)),
            moment.isoformat(), moment.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3], moment.strftime("%d/%b/%Y:%H:%M:%S +0200"),
            moment.strftime("%a, %d %b %Y %H:%M:%S GMT"), moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%d.%m.%Y %H:%M"),
            moment.strftime("%m/%d/%Y"), moment.strftime("%Y%m%d%H%M%S"), f"ts={seconds:.6f}", moment.strftime("%H:%M:%S.%f"),
            f"{moment:%Y-%m-%d} to {moment + timedelta(days=9):%Y-%m-%d}", f"{moment:%d-%m-%Y} {moment:%H.%M}",
        )
    )  # fmt: skip


def _host(rnd: Random) -> str:
    return rnd.choice((*_HOSTS, f"{rnd.choice(_WORDS)}-{rnd.randrange(99)}.example.com", f"localhost:{rnd.randrange(1, 65536)}",
                       "0.0.0.0:4317", "127.0.0.1", "[::1]:4317", "255.255.255.0", "10.20.0.0/16", "2001:db8::/32"))  # fmt: skip


def _mac(rnd: Random) -> str:
    pairs = [f"{rnd.randrange(256):02x}" for _ in range(6)]
    eight = [*pairs, "ff", "fe"]
    return rnd.choice((":".join(pairs), "-".join(pairs).upper(), f"mac={':'.join(pairs)}", ":".join(eight), "".join(pairs),
                       f"{pairs[0]}{pairs[1]}.{pairs[2]}{pairs[3]}.{pairs[4]}{pairs[5]}"))  # fmt: skip


def _coordinates(rnd: Random) -> str:
    north, east = rnd.uniform(-90, 90), rnd.uniform(-180, 180)
    return rnd.choice((f"{north:.6f},{east:.6f}", f"{north:.4f} {east:.4f}", f"lat={north:.5f}&lon={east:.5f}",
                       f"POINT({east:.6f} {north:.6f})", f"{abs(int(north))}°{rnd.randrange(60)}'{rnd.randrange(60)}\"N"))  # fmt: skip


def _size(rnd: Random) -> str:
    number = rnd.randrange(10 ** rnd.randrange(3, 13))
    return rnd.choice((f"{number} bytes", f"{number / 1024:.1f} KiB", f"read {number} of {number * 2} B", f"{number}ns",
                       f"bytes=0-{number}", f"Content-Length: {number}", f"bytes {number}-{number + 999}/{number * 3}"))  # fmt: skip


def _isbn(rnd: Random) -> str:
    digits = f"978{rnd.randrange(10**10):010d}"
    ten = f"{rnd.randrange(10**9):09d}X"
    return rnd.choice((digits, f"{digits[:3]}-{digits[3]}-{digits[4:6]}-{digits[6:12]}-{digits[12]}", f"ISBN {digits}",
                       f"{ten[0]}-{ten[1:4]}-{ten[4:9]}-{ten[9]}"))  # fmt: skip


def _tracking(rnd: Random) -> str:
    number = rnd.randrange(10**8, 10**9)
    return rnd.choice((f"1Z{_hex(64, rnd).upper()}", f"RR{number}DE", f"LX{number}GB", f"TBA{number}000", f"JD0146{number}00",
                       f"SKU-{number % 10**5}-{rnd.choice('ABC')}", f"{rnd.choice('AB')}{number % 1000}-{number % 10**6:06d}"))  # fmt: skip


def _blob(rnd: Random) -> str:
    raw = rnd.randbytes(rnd.randrange(12, 120))
    return rnd.choice((base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), f"etag=\"{raw.hex()[:32]}\"",
                       base64.b64encode(b'{"page":2,"after":' + raw.hex().encode()).decode()))  # fmt: skip


def _file(rnd: Random) -> str:
    word = rnd.choice(_WORDS)
    return rnd.choice(
        (
            f"{word}@2x.{rnd.choice(_EXTENSIONS)}", f"/img/{word}@3x.{rnd.choice(_EXTENSIONS)}", f"icon@1.5x.{rnd.choice(_EXTENSIONS)}",
            f"getty@tty{rnd.randrange(9)}.service", "user@1000.service", f"/var/log/{word}.{rnd.randrange(9)}.log.gz", f"@{word}.route",
            f"{word}.py:{rnd.randrange(999)}", f"/usr/lib/{word}-{rnd.randrange(99)}.so.{rnd.randrange(9)}", f"{word}@localhost",
        )
    )  # fmt: skip


def _remote(rnd: Random) -> str:
    word, other = rnd.choice(_WORDS), rnd.choice(_WORDS)
    return rnd.choice((f"git@github.com:{word}/{other}.git", f"deploy@git.example.com:{word}/{other}.git", f"{word}@sha256:{_hex(256, rnd)}",
                       f"ssh://git@gitlab.example.com/{word}/{other}.git", f"git+ssh://git@github.com/{word}/{other}"))  # fmt: skip


def _tensor(rnd: Random) -> str:
    sides = [str(rnd.choice((1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 4096, 8192))) for _ in range(rnd.randrange(2, 6))]
    return rnd.choice((f"[{','.join(sides)}]", f"({', '.join(sides)})", "x".join(sides), f"[{' '.join(sides)}]",
                       f"shape={sides} dtype=bf16", f"torch.Size([{', '.join(sides)}])"))  # fmt: skip


def _pod(rnd: Random) -> str:
    name = f"{rnd.choice(_WORDS)}-{_hex(32, rnd)}-{_hex(20, rnd)}"
    return rnd.choice((name, f"default/{name}", f"{rnd.choice(_WORDS)}-{rnd.randrange(100)}", f"pod={name} ns=prod",
                       f"arn:aws:eks:eu-west-1:{rnd.randrange(10**11, 10**12)}:cluster/{rnd.choice(_WORDS)}"))  # fmt: skip


def _oid(rnd: Random) -> str:
    return rnd.choice(
        (f"1.3.6.1.4.1.{rnd.randrange(10**5)}.{rnd.randrange(99)}", f"oid:2.5.{rnd.randrange(99)}.{rnd.randrange(99)}",
         f"2.16.840.1.{rnd.randrange(200)}.{rnd.randrange(9)}", f"section 4.{rnd.randrange(9)}.{rnd.randrange(9)}",
         f"{rnd.randrange(256, 999)}.{rnd.randrange(256)}.1.1")
    )  # fmt: skip


def _code(rnd: Random) -> str:
    word = rnd.choice(_WORDS)
    return rnd.choice(
        (
            f"std::{word}::push_back", "collections::HashMap", f"face::{word}", "dead::beef", f"{word}[1::2]", f"10:30:{rnd.randrange(60):02d}",
            f"{word}: token limit reached", f"{word}.tokens={rnd.randrange(9999)}", "Bearer token is missing", "password: required field",
            "invalid password for user", "password=null", "token=***", "secret: <redacted>", f"max_token={rnd.randrange(999)}",
            f"sk-learn-{word}-pipeline-step", f"task-{word}-eyJob", "-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----",
            f"SELECT * FROM {word} WHERE id = {rnd.randrange(10**6)} LIMIT 10", f"{word} 404 {rnd.randrange(999)} {rnd.randrange(9999)} 12",
            f"<{word}@{_hex(32, rnd)}>", f"com.example.{word.title()}@{_hex(32, rnd)}", "AKIAlthough", "password=${DB_PASSWORD}",
        )
    )  # fmt: skip


def _iban_like(rnd: Random) -> str:
    digits = f"{rnd.randrange(10**18):018d}"
    return rnd.choice((f"DE00{digits}", f"GB1{digits[:12]}", f"AB{digits}", f"NO{digits[:6]}", f"US12 {digits[:4]} {digits[4:8]} {digits[8:12]}"))


SORTS: dict[str, Callable[[Random], str]] = {
    "hash": _hash, "trace id": _trace, "uuid": _uuid, "version": _version, "order number": _order, "long id": _long_id,
    "float": _float, "timestamp": _timestamp, "host": _host, "hardware address": _mac, "coordinates": _coordinates,
    "size": _size, "isbn": _isbn, "tracking number": _tracking, "blob": _blob, "file": _file, "remote": _remote,
    "tensor": _tensor, "pod": _pod, "oid": _oid, "code": _code, "iban-like": _iban_like,
}  # fmt: skip

_CARRIERS = ("{}", "{}", "checked {} in 3 ms", '{{"id":"{}","n":3}}', "value={} ok", "https://api.example.org/v1?q={}")


def negatives(count: int, rnd: Random) -> Iterator[Example]:
    """`count` texts, the sorts in turn; the numbers among them outside URLs too, so that they stand for themselves."""
    sorts = list(SORTS.items())
    for number in range(count):
        note, make = sorts[number % len(sorts)]
        yield Example(rnd.choice(_CARRIERS).format(make(rnd)).encode(), None, 0, 0, note)
