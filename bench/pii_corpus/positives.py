"""Values of every kind, each in a carrier."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from bench.pii_corpus.addresses import email, ipv4, ipv6
from bench.pii_corpus.banking import card, iban
from bench.pii_corpus.carriers import carry
from bench.pii_corpus.phones import phone
from bench.pii_corpus.tokens import api_key, cloud_key, jwt, private_key, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.pii_corpus.example import Example, Value

MAKERS: dict[str, Callable[[Random], Value]] = {
    "email": email,
    "phone": phone,
    "card": card,
    "iban": iban,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "cloud_key": cloud_key,
    "api_key": api_key,
    "jwt": jwt,
    "private_key": private_key,
    "secret": secret,
}


def positives(kind: str, count: int, seed: int) -> Iterator[Example]:
    """`count` texts with one value of `kind` each. The same seed gives the same texts."""
    rnd = Random(f"{kind} {seed}")
    for _ in range(count):
        yield carry(kind, MAKERS[kind](rnd), rnd)
