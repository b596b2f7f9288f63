"""The indexes of metrics and logs, and what is selected and replaced by them, as protobuf has it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_messages import random_request, untidy, varint

from tests.fuzz.mutate import damage, rearrange
from tests.fuzz.signals import SCAN, check, check_rewriting, parse

seeds = st.integers(0, 2**48)
both = pytest.mark.parametrize("signal", ["metrics", "logs"])


@both
@settings(max_examples=250, deadline=None)
@given(seed=seeds)
def test_valid_messages_with_all_fields(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = random_request(rnd, signal).SerializeToString()
    assert check(signal, payload)
    check_rewriting(rnd, signal, payload)


@both
@settings(max_examples=250, deadline=None)
@given(seed=seeds)
def test_other_encodings(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = untidy(rnd, random_request(rnd, signal))
    assert check(signal, payload)
    check_rewriting(rnd, signal, payload)
    for _ in range(3):
        payload = rearrange(rnd, payload)
        if check(signal, payload):
            check_rewriting(rnd, signal, payload)


@both
@settings(max_examples=250, deadline=None)
@given(seed=seeds)
def test_damaged_bytes(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload, other = (random_request(rnd, signal).SerializeToString() for _ in range(2))
    for _ in range(5):
        check(signal, damage(rnd, payload, other))


@both
@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=200))
def test_random_bytes(signal: str, payload: bytes) -> None:
    check(signal, payload)


@both
@settings(max_examples=200, deadline=None)
@given(tag=st.sampled_from([0x2A, 0x3A, 0x4A, 0x52, 0x5A]), body=st.binary(max_size=40))
def test_random_bytes_as_an_item(signal: str, tag: int, body: bytes) -> None:
    leaf = bytes([0x0A, len(body)]) + body
    leaf = bytes([tag, len(leaf)]) + leaf if signal == "metrics" else body
    scope = bytes([0x12, len(leaf)]) + leaf
    check(signal, bytes([0x0A, len(scope) + 2, 0x12, len(scope)]) + scope)


@both
@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_concatenated_requests_are_indexed_as_one(signal: str, seed: int) -> None:
    rnd = Random(seed)
    parts = [rearrange(rnd, random_request(rnd, signal).SerializeToString()) for _ in range(3)]
    parts = [part for part in parts if parse(signal, part) is not None]
    payload = b"".join(parts)
    assert check(signal, payload)
    assert SCAN[signal](payload).time.tolist() == [time for part in parts for time in SCAN[signal](part).time.tolist()]


def field(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + varint(len(body)) + body


@pytest.mark.parametrize("levels", [46, 47, 48, 49, 50])
def test_the_outer_limit_of_nesting_is_protobufs(levels: int) -> None:
    value = b"\x10\x01"
    for _ in range(levels - 1):
        value = field(0x2A, field(0x0A, value))
    for end in (b"", b"\x53\x54", b"\x53\x5b\x5c\x54"):  # groups count like messages
        point = field(0x0A, field(0x3A, field(0x12, value + end) + end) + end)
        for signal, leaf in (("metrics", field(0x2A, point)), ("logs", field(0x2A, value + end))):
            check(signal, field(0x0A, field(0x12, field(0x12, leaf))))
