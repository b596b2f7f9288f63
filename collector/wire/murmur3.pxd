"""MurmurHash3 as the `mmh3` package computes it, without the GIL: x86_32, and half of x64_128."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.varint cimport load_le32, load_le64


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


cdef inline uint64_t rotate64(uint64_t word, int bits) noexcept nogil:
    return word << bits | word >> (64 - bits)


cdef inline uint64_t mix64(uint64_t word) noexcept nogil:
    word ^= word >> 33
    word *= <uint64_t>0xff51afd7ed558ccd
    word ^= word >> 33
    word *= <uint64_t>0xc4ceb9fe1a85ec53
    return word ^ word >> 33


cdef inline uint64_t load_tail(const uint8_t* at, size_t size) noexcept nogil:
    """Up to 8 bytes as a little-endian number."""
    cdef uint64_t word = 0
    cdef size_t i
    if size >= 4:
        return load_le32(at) | <uint64_t>load_le32(at + size - 4) << 8 * (size - 4)
    for i in range(size):
        word |= <uint64_t>at[i] << 8 * i
    return word


cdef inline uint64_t murmur3_64(const uint8_t* at, size_t size) noexcept nogil:
    """The first half of MurmurHash3 x64_128: `mmh3.hash64(bytes, signed=False)[0]`"""
    cdef uint64_t one = 0, two = 0, word
    cdef size_t left = size
    while left >= 16:
        word = rotate64(load_le64(at) * <uint64_t>0x87c37b91114253d5, 31) * <uint64_t>0x4cf5ad432745937f
        one = (rotate64(one ^ word, 27) + two) * 5 + 0x52dce729
        word = rotate64(load_le64(at + 8) * <uint64_t>0x4cf5ad432745937f, 33) * <uint64_t>0x87c37b91114253d5
        two = (rotate64(two ^ word, 31) + one) * 5 + 0x38495ab5
        at += 16
        left -= 16
    if left > 8:
        word = load_tail(at + 8, left - 8)
        two ^= rotate64(word * <uint64_t>0x4cf5ad432745937f, 33) * <uint64_t>0x87c37b91114253d5
        left = 8
    if left:
        word = load_tail(at, left)
        one ^= rotate64(word * <uint64_t>0x87c37b91114253d5, 31) * <uint64_t>0x4cf5ad432745937f
    one ^= size
    two ^= size
    one += two
    two += one
    return mix64(one) + mix64(two)
