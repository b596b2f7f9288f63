"""The hash against SipHash as its paper has it."""

import random

import pytest

from processors.cardinality_limiter.known import keyed_hash

WORD = 2**64 - 1


def rotate(x, n):
    return (x << n | x >> (64 - n)) & WORD


def siphash(key, data, c, d, *, wide):
    """c rounds a word and d at the end; 128 bits with `wide`."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    v[1] ^= 0xEE if wide else 0

    def rounds(count):
        for _ in range(count):
            v[0] = v[0] + v[1] & WORD
            v[2] = v[2] + v[3] & WORD
            v[1], v[3] = rotate(v[1], 13) ^ v[0], rotate(v[3], 16) ^ v[2]
            v[0] = rotate(v[0], 32)
            v[2] = v[2] + v[1] & WORD
            v[0] = v[0] + v[3] & WORD
            v[1], v[3] = rotate(v[1], 17) ^ v[2], rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 255) << 56)
    for word in words:
        v[3] ^= word
        rounds(c)
        v[0] ^= word
    v[2] ^= 0xEE if wide else 0xFF
    rounds(d)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    if not wide:
        return first
    v[1] ^= 0xDD
    rounds(d)
    return first, v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_oracle_is_siphash():
    """The example of the paper's appendix, and the first vector of its 128-bit form."""
    assert siphash(bytes(range(16)), bytes(range(15)), 2, 4, wide=False) == 0xA129CA6149BE45E5
    low, high = siphash(bytes(range(16)), b"", 2, 4, wide=True)
    assert (low.to_bytes(8, "little") + high.to_bytes(8, "little")).hex() == "a3817f04ba25a8e66df67214c7550293"


@pytest.mark.parametrize("size", [*range(40), 255, 256, 1000])
def test_it_is_siphash_1_3_of_128_bits(size):
    draw = random.Random(size)
    key, data = draw.randbytes(16), draw.randbytes(size)
    assert keyed_hash(key, data) == siphash(key, data, 1, 3, wide=True)
