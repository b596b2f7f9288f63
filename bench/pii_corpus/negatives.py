"""What looks like PII and is none: texts in which nothing may be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.pii_corpus.example import Example
from bench.pii_corpus.look_alike_names import build_file, numbered_name, plain_name, versioned_name
from bench.pii_corpus.look_alike_numbers import (
    coordinates,
    digest,
    floating,
    iban_like,
    isbn,
    long_id,
    oid,
    order,
    random_uuid,
    size,
    timestamp,
    trace_id,
    tracking,
    version,
)
from bench.pii_corpus.look_alike_texts import blob, code, file_name, host, mac, pod, remote, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

SORTS: dict[str, Callable[[Random], str]] = {
    "hash": digest,
    "trace id": trace_id,
    "uuid": random_uuid,
    "version": version,
    "order number": order,
    "long id": long_id,
    "float": floating,
    "timestamp": timestamp,
    "host": host,
    "hardware address": mac,
    "coordinates": coordinates,
    "size": size,
    "isbn": isbn,
    "tracking number": tracking,
    "blob": blob,
    "file": file_name,
    "remote": remote,
    "tensor": tensor,
    "pod": pod,
    "oid": oid,
    "code": code,
    "iban-like": iban_like,
    "versioned name": versioned_name,
    "numbered name": numbered_name,
    "plain name": plain_name,
    "build file": build_file,
}

_CARRIERS = ("{}", "{}", "checked {} in 3 ms", '{{"id":"{}","n":3}}', "value={} ok", "https://api.example.org/v1?q={}")


def negatives(count: int, rnd: Random) -> Iterator[Example]:
    """`count` texts, the sorts in turn; the numbers among them outside URLs too, so that they stand for themselves."""
    sorts = list(SORTS.items())
    for number in range(count):
        note, make = sorts[number % len(sorts)]
        yield Example(rnd.choice(_CARRIERS).format(make(rnd)).encode(), None, 0, 0, note)
