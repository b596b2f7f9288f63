import gzip

import pytest
import zstandard

from receivers.otlp.http_body import TOO_LARGE, Body
from receivers.otlp.transport import RefusedError

PLAIN = bytes(range(256)) * 4000


class Permit:
    def __init__(self):
        self.size, self.released = 0, 0

    def release(self):
        self.released += 1


class Door:
    def grow(self, permit, size):
        permit.size += size


def body(encoding, data, limit=20 << 20):
    permit = Permit()
    return Body(encoding, data, Door(), permit, limit), permit


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_a_body_is_read_in_two_goes(encoding):
    data = {"identity": PLAIN, "gzip": gzip.compress(PLAIN), "zstd": zstandard.compress(PLAIN)}[encoding]
    parts, permit = body(encoding, data)
    assert parts.read(64 << 10) is None
    assert parts.read(20 << 20) == PLAIN
    assert permit.size == len(PLAIN) - len(data)
    assert permit.released == 0


def test_a_small_one_is_read_in_one():
    parts, _ = body("gzip", gzip.compress(b"small"))
    assert parts.read(64 << 10) == b"small"


def test_the_first_go_of_a_bomb_is_short():
    parts, permit = body("gzip", gzip.compress(bytes(300 << 20)))
    assert parts.read(64 << 10) is None
    assert permit.size <= 256 << 10
    with pytest.raises(RefusedError) as refused:
        parts.read(20 << 20)
    assert refused.value.answer is TOO_LARGE
    assert permit.size <= 20 << 20
    assert permit.released == 1
