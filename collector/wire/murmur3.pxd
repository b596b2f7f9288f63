"""MurmurHash3's 32-bit hash (the x86_32 variant, as the `mmh3` package computes it), without the GIL."""

from libc.stdint cimport uint8_t, uint32_t

from collector.wire.varint cimport load_le32


cdef inline uint32_t rotate(uint32_t word, int bits) noexcept nogil:
    return word << bits | word >> (32 - bits)


cdef inline uint32_t scramble(uint32_t block) noexcept nogil:
    return rotate(block * <uint32_t>0xcc9e2d51, 15) * <uint32_t>0x1b873593


cdef inline uint32_t mix32(uint32_t word) noexcept nogil:
    """The finaliser: a bijection in which every bit of the input moves about half of the output's."""
    word ^= word >> 16
    word *= <uint32_t>0x85ebca6b
    word ^= word >> 13
    word *= <uint32_t>0xc2b2ae35
    return word ^ word >> 16


cdef inline uint32_t murmur3(const uint8_t* at, size_t size) noexcept nogil:
    """`mmh3.hash(bytes, seed=0, signed=False)`"""
    cdef uint32_t state = 0, rest = 0
    cdef size_t left = size
    while left >= 4:
        state = rotate(state ^ scramble(load_le32(at)), 13) * 5 + <uint32_t>0xe6546b64
        at += 4
        left -= 4
    if left:
        if left == 3:
            rest = <uint32_t>at[2] << 16
        if left >= 2:
            rest |= <uint32_t>at[1] << 8
        state ^= scramble(rest | at[0])
    return mix32(state ^ <uint32_t>size)
