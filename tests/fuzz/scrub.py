"""A mutation fuzz of the PII scrubber, all three signals: `python -m tests.fuzz.scrub --seconds 60`.

What protobuf accepts must come out as a request of as many items, without a text in the place of an id; anything else
must be refused cleanly or come out as bytes. Prints the first payload that breaks this as hex and exits with 1. Under
the sanitizers (`make sanitize`) a bad read or undefined behaviour ends the process.
"""

from __future__ import annotations

import argparse
import hmac
import random
import sys
import time
from typing import TYPE_CHECKING

from collector.api import Malformed
from processors.pii_scrubber.actions import Action, What
from processors.pii_scrubber.detect import KIND_NAMES, ValueDetectors
from processors.pii_scrubber.key_rules import KeyRule, KeyRules
from processors.pii_scrubber.scrubber import Scrubber
from tests.fuzz.mutate import mutate
from tests.property.otlp_messages import ID_SIZES, REQUESTS, random_request, untidy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

CORPUS = 200
ROOM = b"\x0a\x83\x01\x1a\x80\x01" + b"a" * 128
"""A resource of nothing but a schema URL, behind which bytes are read ahead only in it."""
PERSONAL = (
    "ann@example.com", "4111 1111 1111 1111", "203.0.113.7, 2001:db8::1", "+49 30 901820",
    "DE89 3704 0044 0532 0130 00", "Bearer abcdefghijklmnopqrstuvwx12345", "password=hunter2hunter2",
    "a" * 300 + "@b.example", "\u20ac" * 40, "",
)  # fmt: skip
KEYS = ("user.id", "llm.prompt", "client.address", "tensor.values", "dropped", "plain", "password", "k" * 600)
RULES = (
    KeyRule(("user.id",), Action(What.HASH)),
    KeyRule(("llm.prompt",), Action(What.LENGTH)),
    KeyRule(("client.address",), Action(What.MASK)),
    KeyRule(("tensor.values",), Action(What.REDACT)),
    KeyRule(("dropped",), Action(What.DELETE)),
    KeyRule((), Action(What.MASK, b"****"), ("pass.*",)),
)


def plant(rnd: random.Random, message: Message) -> None:
    """Personal values in some of the strings, ruled keys in some of the attributes."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                plant(rnd, inner)
        elif field.type == field.TYPE_STRING and not field.is_repeated and rnd.random() < 0.5:
            setattr(message, field.name, rnd.choice(KEYS if field.name == "key" else PERSONAL))


def sample(rnd: random.Random, signal: str) -> bytes:
    request = random_request(rnd, signal)
    plant(rnd, request)
    return untidy(rnd, request)


def ids(message: Message) -> Iterator[tuple[int, int]]:
    """The length of each id, and what it should be."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from ids(inner)
        elif field.name in ID_SIZES:
            yield len(value), ID_SIZES[field.name]


def check(scrubber: Scrubber, signal: str, payload: bytes) -> bool:
    """Whether protobuf accepts the payload. Raises `AssertionError`."""
    kind = REQUESTS[signal]
    try:
        truth = kind.FromString(payload)
    except Exception:
        truth = None
    try:
        scrubbed = scrubber.scrub(signal, payload)
    except Malformed:
        assert truth is None, "refused what protobuf accepts"
        return False
    if truth is None:
        return False
    roomy = scrubber.scrub(signal, payload + ROOM)
    assert roomy == (None if scrubbed is None else scrubbed + ROOM), "what stands behind matters"
    out = kind.FromString(payload if scrubbed is None else scrubbed)
    (resources,) = kind.DESCRIPTOR.fields
    assert len(getattr(out, resources.name)) == len(getattr(truth, resources.name)), "resources are gone"
    assert all(size == right for size, right in ids(out)), "text in the place of an id"
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    corpora = {signal: [sample(rnd, signal) for _ in range(CORPUS)] for signal in REQUESTS}
    detectors = ValueDetectors(KIND_NAMES)
    scrubber = Scrubber(
        detectors,
        KeyRules(RULES),
        digest=lambda text: hmac.digest(b"fuzz", text, "sha256"),
        prefix=b"k1:",
        numbers=True,
    )
    print(f"seed {options.seed}, scrubber {sys.modules['processors.pii_scrubber.walk'].__file__}")
    cases = accepts = 0
    stop = time.monotonic() + options.seconds
    while time.monotonic() < stop:
        signal = rnd.choice(list(corpora))
        corpus = corpora[signal]
        if cases % 10 == 0:
            corpus[rnd.randrange(CORPUS)] = sample(rnd, signal)
        payload = mutate(rnd, rnd.choice(corpus), rnd.choice(corpus)) if rnd.random() < 0.8 else rnd.choice(corpus)
        try:
            accepts += check(scrubber, signal, payload)
        except AssertionError as error:
            print(f"case {cases}, {signal}: {error}\n{payload.hex()}")
            return 1
        cases += 1
    _, failures = scrubber.take_counts()
    print(f"{cases} cases, {accepts} accepted by protobuf; failed closed: {failures}; no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
