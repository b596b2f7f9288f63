"""SipHash-1-3: a keyed 64-bit hash. Names and values come from the network, so nobody may choose collisions.

J.-P. Aumasson, D. J. Bernstein: SipHash: a fast short-input PRF (2012).
"""

from libc.stdint cimport uint8_t, uint64_t

from exporters.wire.numbers cimport load64


cdef inline uint64_t rotated(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] = rotated(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[2] = rotated(v[2], 32)


cdef inline uint64_t siphash(const uint8_t* text, size_t size, uint64_t k0, uint64_t k1) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t word = 0
    cdef size_t at = 0, rest
    v[0] = k0 ^ <uint64_t>0x736f6d6570736575
    v[1] = k1 ^ <uint64_t>0x646f72616e646f6d
    v[2] = k0 ^ <uint64_t>0x6c7967656e657261
    v[3] = k1 ^ <uint64_t>0x7465646279746573
    while size - at >= 8:
        word = load64(text + at)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        at += 8
    word = <uint64_t>size << 56
    for rest in range(size - at):
        word |= <uint64_t>text[at + rest] << (8 * rest)
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xff
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
