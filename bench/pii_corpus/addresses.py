"""E-mail and IP addresses."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from bench.pii_corpus.example import Value

if TYPE_CHECKING:
    from random import Random

_GIVEN = (
    "anna", "li", "omar", "ingrid", "tomás", "aiko", "maria", "sven", "zoë", "j", "olu", "fatima", "chloe", "o'brien",
    "mary-ann", "kwame", "иван", "björn",
)  # fmt: skip
_FAMILY = ("silva", "wei", "haddad", "larsen", "novak", "tanaka", "rossi", "berg", "o", "nguyen", "smith", "garcía")
_HOSTS = (
    "gmail.com", "example.com", "mail.example.co.uk", "outlook.com", "web.de", "163.com", "qq.com", "yandex.ru",
    "münchen.example", "xn--bcher-kva.example", "corp.internal.example.org", "a.b.c.d.example.net", "uni-bonn.de",
    "студент.рф", "3m.com", "t-online.de", "hotmail.fr", "proton.me", "company.technology", "x.io", "example.museum",
    "例え.jp", "sub-domain.example-site.info",
)  # fmt: skip
_TAGS = ("news", "2024", "butterfly.test", "a_b", "x-1")


def email(rnd: Random) -> Value:
    given, family = rnd.choice(_GIVEN), rnd.choice(_FAMILY)
    local = rnd.choice(
        (
            f"{given}.{family}", f"{given}_{family}", f"{given}{rnd.randrange(2000)}", f"{given[0]}{family}", given,
            f"{given}.{family}+{rnd.choice(_TAGS)}", f"{rnd.randrange(10**9)}", f"{given.upper()}.{family.title()}",
            f"_{given}", f"{given}-{family}.{rnd.randrange(99)}", f"{rnd.getrandbits(48):x}", f'"{given} {family}"',
        )
    )  # fmt: skip
    host = rnd.choice(_HOSTS)
    style = rnd.random()
    if style < 0.1 and host.isascii():
        host = host.upper()
    return Value(f"{local}@{host}", "quoted" if local[0] == '"' else host)


def _public_v4(rnd: Random) -> str:
    while True:
        address = ipaddress.IPv4Address(rnd.getrandbits(32))
        octets = address.packed
        # what identifies nobody, or is a network of the size that is kept
        if 1 <= octets[0] <= 239 and octets[0] != 127 and (octets[2] or octets[3]):
            return str(address)


def ipv4(rnd: Random) -> Value:
    value = rnd.choice(
        (
            _public_v4(rnd),
            _public_v4(rnd),
            f"10.{rnd.randrange(256)}.{rnd.randrange(256)}.{rnd.randrange(1, 256)}",
            f"192.168.{rnd.randrange(256)}.{rnd.randrange(1, 255)}",
            f"172.{rnd.randrange(16, 32)}.0.{rnd.randrange(1, 255)}",
        )
    )  # fmt: skip
    before, after, form = rnd.choice(
        (
            ("", "", "bare"), ("", f":{rnd.randrange(1, 65536)}", "port"), ("", f"/{rnd.randrange(17, 33)}", "CIDR"),
            ("http://", f":{rnd.randrange(80, 9000)}/v1/x", "URL"), ("[", "]", "brackets"), ("(", ")", "parentheses"),
            ("tcp://", ":4317", "URL"), ("ip-host,", ",10", "list"), ("https://user@", "/x", "userinfo"),
            ("ipv4:", ":50051", "gRPC peer"),
        )
    )  # fmt: skip
    return Value(value, form, before, after)


def _address_v6(rnd: Random) -> ipaddress.IPv6Address:
    prefix = rnd.choice((0x2001, 0x2A00 + rnd.randrange(256), 0x2600 + rnd.randrange(64), 0x2400 + rnd.randrange(64),
                         0xFD00 + rnd.randrange(256), 0xFE80))  # fmt: skip
    value = prefix << 112
    if prefix != 0xFE80:
        value |= rnd.getrandbits(32) << 80 | rnd.choice((0, rnd.getrandbits(16))) << 64
    return ipaddress.IPv6Address(
        value | rnd.choice((rnd.getrandbits(64), rnd.randrange(1, 70000), rnd.getrandbits(48)))
    )


def ipv6(rnd: Random) -> Value:
    address = _address_v6(rnd)
    value = rnd.choice((str(address), str(address), address.exploded, str(address).upper()))
    if rnd.random() < 0.05:
        value = f"::ffff:{_public_v4(rnd)}"
    before, after, form = rnd.choice(
        (
            ("", "", "bare"), ("[", f"]:{rnd.randrange(1, 65536)}", "port"), ("", f"/{rnd.randrange(49, 129)}", "CIDR"),
            ("http://[", "]/v1/x", "URL"), ("[", "]", "brackets"), ("(", ")", "parentheses"), ("", "%eth0", "zone"),
            ("ipv6:[", "]:50051", "gRPC peer"), ("peer ", ": connection refused", "before a colon"),
        )
    )  # fmt: skip
    return Value(value, form, before, after)
