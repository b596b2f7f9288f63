"""No input is much dearer than Butterfly's own traffic, byte for byte. CPU time, the least of several tries."""

import time

import pytest

from bench.micro_pii import ADVERSE, HASHED, adverse, make, traffic
from processors.pii_scrubber.actions import Action, What
from processors.pii_scrubber.detect import KIND_NAMES, ValueDetectors
from processors.pii_scrubber.key_rules import KeyRule, KeyRules
from processors.pii_scrubber.pepper import Pepper
from processors.pii_scrubber.scrubber import Scrubber

MOST = 20
MOST_OF_HASHES = 50
"""Each new user identifier of a few bytes costs an HMAC, which doesn't get quicker when usual traffic does."""


def nanoseconds_a_byte(requests, scrubber=None):
    best = float("inf")
    for _ in range(4):
        scrub = (scrubber or make()).scrub
        begin = time.thread_time_ns()
        for request in requests:
            scrub("traces", request)
        best = min(best, time.thread_time_ns() - begin)
    return best / sum(map(len, requests))


@pytest.fixture(scope="module")
def usual():
    return nanoseconds_a_byte(traffic(100, 0.2))


@pytest.mark.parametrize("name", sorted(ADVERSE))
def test_no_value_is_much_dearer(name, usual):
    cost = nanoseconds_a_byte(adverse(name))
    print(f"\n{name}: {cost / usual:.1f} times")
    assert cost < usual * (MOST_OF_HASHES if name == HASHED else MOST)


def test_new_ids_cost_little_more_than_their_hashes():
    requests = adverse(HASHED)
    digest, values = Pepper("k1", b"a pepper for the benchmark").digest, [b"%d" % number for number in range(6000)]
    hashes = float("inf")
    for _ in range(4):
        begin = time.thread_time_ns()
        for value in values:
            digest(value)
        hashes = min(hashes, time.thread_time_ns() - begin)
    cost = nanoseconds_a_byte(requests) * sum(map(len, requests))
    print(f"\n{cost / hashes:.2f} times")
    assert cost < 2 * hashes


def field(tag, *parts):
    body = b"".join(parts)
    size, length = len(body), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((tag << 3 | 2, *length, size)) + body


def nested(depth):
    value = field(1, b"x")
    for _ in range(depth):
        value = field(5, field(1, value))
    return value


STRUCTURES = {
    "empty attributes": field(9) * 50_000,
    "attributes without a value": field(9, field(1, b"k")) * 20_000,
    "attributes of many keys": field(9, field(1, b"a") * 1000) * 20,
    "attributes of many values": field(9, field(1, b"a"), field(2, field(1, b"x")) * 1000) * 20,
    "empty values in lists": field(9, field(1, b"a"), field(2, field(5, field(1) * 50_000))),
    "nested to the limit": field(9, field(1, b"a"), field(2, nested(31))) * 500,
    "nested far beyond it": field(9, field(1, b"a"), field(2, nested(1000))) * 20,
    "empty events": field(11) * 50_000,
    "one long text": field(5, b"a.b-c " * 40_000),
    "bad text": field(5, b"\xff") * 20_000,
    "keys to remove": field(9, field(1, b"removed")) * 20_000,
    "near misses of globs": b"".join(field(9, field(1, b"a" * 200 + b"%d" % n)) for n in range(2000)),
}


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_no_structure_is_much_dearer(name, usual):
    rules = KeyRules(
        [KeyRule(("removed",), Action(What.DELETE)), KeyRule(("*a*a*a*b", "*.password"), Action(What.REDACT))]
    )
    scrubber = Scrubber(ValueDetectors(KIND_NAMES), rules, digest=bytes)
    request = field(1, field(2, field(2, STRUCTURES[name])))
    cost = nanoseconds_a_byte([request], scrubber)
    print(f"\n{name}: {cost / usual:.1f} times")
    assert cost < usual * MOST


def test_many_keys_that_need_a_pattern_are_asked_for_once(usual):
    """Python is asked for each new key; a request of them may cost more than others, but not the square."""
    rules = KeyRules([KeyRule((), Action(What.HASH), ("(?i)passport",))])

    def cost(count):
        body = b"".join(field(9, field(1, b"key.%d" % number)) for number in range(count))
        scrubber = Scrubber(ValueDetectors(()), rules, digest=bytes)
        begin = time.thread_time_ns()
        scrubber.scrub("traces", field(1, field(2, field(2, body))))
        return time.thread_time_ns() - begin

    small = min(cost(2000) for _ in range(3)) / 2000
    large = min(cost(20_000) for _ in range(3)) / 20_000
    assert large < small * 4
