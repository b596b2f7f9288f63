"""What values stand in: nothing else, a sentence of a log, JSON, a URL's query, an assignment, a longer name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from bench.pii_corpus.example import Example, Value

if TYPE_CHECKING:
    from random import Random

_SENTENCES = (
    "request from {} took 12 ms",
    "could not process {}, retrying in 5 s",
    'level=warn msg="rejected {}" attempt=3',
    "user said: {}. Nothing was changed",
    "2026-03-04T10:11:12.345Z INFO node-017 checked {} (ok)",
    "<{}> is already in use",
    "updated record for {}\nnext line",
    "value '{}' does not match",
)
_KEYS = {
    "email": ("email", "user", "to", "contact"),
    "phone": ("phone", "tel", "mobile", "phoneNumber"),
    "card": ("card", "pan", "number", "cc"),
    "iban": ("iban", "account", "to", "creditor"),
    "ipv4": ("ip", "client", "peer", "addr"),
    "ipv6": ("ip", "client", "peer", "host"),
    "secret": ("value", "key", "data", "message"),
    "jwt": ("jwt", "id_token", "token", "assertion"),
}
_ANY_KEY = ("value", "key", "data", "token")
_PHONE_SENTENCES = (
    "call me at {} after noon",
    "SMS sent to {} in 120 ms",
    "phone: {}",
    "customer reachable under tel. {}",
    "please ring {}, thanks",
    "Fax {} is busy",
)
_NAMES = (
    ("prod_", ""),
    ("prod-", ""),
    ("_", "_"),
    ("-", "-"),
    ("", "_old"),
    ("", "-old"),
    ("", "@host"),
    ("file_", ".txt"),
    ("/srv/log-", ".txt"),
)
_NAMES_OF = {
    "email": (("", ".txt"), ("", ".json"), ("", ".csv.gz"), ("/srv/", ".log.1"), ("to:", ".tar.bz2"), ("", "_old")),
    "phone": (("", "_old"), ("", "_2"), ("", "@host"), ("", ".txt")),
    "private_key": (("prod_", ""), ("prod-", "")),
}


def carry(kind: str, value: Value, rnd: Random) -> Example:
    """Put a value into one of the carriers, all equally often."""
    keys = _KEYS.get(kind, _ANY_KEY)
    if value.before or value.after or value.announced or kind == "secret" or rnd.randrange(6):
        before, after = _surroundings(kind, keys, rnd, announced=value.announced)
    else:
        before, after = rnd.choice(_NAMES_OF.get(kind, _NAMES))
    parts = [value.before, value.text, value.after]
    if "?" in before and kind != "private_key":
        # in a query, a value is percent-encoded, with one of the two forms of a space and with or without the `@`
        safe = rnd.choice(("@:/", ":/", "@:/ "))
        parts = [quote(part, safe=safe).replace(" ", "+") for part in parts]
    start = len((before + parts[0]).encode())
    return Example((before + "".join(parts) + after).encode(), kind, start, start + len(parts[1].encode()), value.note)


def _surroundings(kind: str, keys: tuple[str, ...], rnd: Random, *, announced: bool) -> tuple[str, str]:
    key = rnd.choice(keys)
    carrier = rnd.randrange(1 if announced else 0, 5)
    if carrier == 0:
        return "", ""
    if carrier == 1:
        sentences = _PHONE_SENTENCES if announced or (kind == "phone" and rnd.random() < 0.5) else _SENTENCES
        before, after = rnd.choice(sentences).split("{}")
        return before, after
    if carrier == 2:
        return rnd.choice(
            ((f'{{"id":17,"{key}":"', '","ok":true}'), (f'{{"{key}": "', '"}'), (f'{{\\"{key}\\":\\"', '\\"}'))
        )
    if carrier == 3:
        return f"https://api.example.org/v1/items?{key}=", rnd.choice(("", "&page=2", "#top"))
    return f"{key}{rnd.choice(('=', ': ', '=', ' = '))}", rnd.choice(("", " status=ok", ", next"))
