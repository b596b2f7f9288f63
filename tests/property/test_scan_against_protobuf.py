"""The scanner and protobuf on valid, rearranged, damaged and random bytes: same verdict, columns and matches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.wire.scan import scan, validate
from tests.fuzz.generate import generate
from tests.fuzz.mutate import damage, rearrange
from tests.fuzz.oracle import check, parse, standard_probes

if TYPE_CHECKING:
    from random import Random

randoms = st.randoms(use_true_random=False)
PROBES = standard_probes()


@settings(max_examples=150, deadline=None)
@given(randoms)
def test_valid_messages_with_all_fields(rnd: Random) -> None:
    payload = generate(rnd).SerializeToString()
    assert check(payload, PROBES)
    assert validate(payload, max_depth=32).count == scan(payload).count


@settings(max_examples=150, deadline=None)
@given(randoms)
def test_other_encodings(rnd: Random) -> None:
    payload = generate(rnd).SerializeToString()
    for _ in range(4):
        payload = rearrange(rnd, payload)
        check(payload, PROBES)


@settings(max_examples=120, deadline=None)
@given(randoms)
def test_damaged_bytes(rnd: Random) -> None:
    payload, other = generate(rnd).SerializeToString(), generate(rnd).SerializeToString()
    for _ in range(6):
        check(damage(rnd, payload, other), PROBES)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(payload: bytes) -> None:
    check(payload, PROBES)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_as_a_span(body: bytes) -> None:
    span = bytes([0x12, len(body)]) + body
    check(bytes([0x0A, len(span) + 2, 0x12, len(span)]) + span, PROBES)


@settings(max_examples=50, deadline=None)
@given(randoms)
def test_concatenated_requests_are_indexed_as_one(rnd: Random) -> None:
    parts = [rearrange(rnd, generate(rnd).SerializeToString()) for _ in range(3)]
    parts = [part for part in parts if parse(part) is not None]
    payload = b"".join(parts)
    assert check(payload, PROBES)
    assert scan(payload, PROBES).matches.tolist() == [
        bits for part in parts for bits in scan(part, PROBES).matches.tolist()
    ]
