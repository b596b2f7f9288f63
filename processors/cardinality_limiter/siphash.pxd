"""SipHash-1-3 with a 128-bit result and a secret 128-bit key (Aumasson and Bernstein): label values come from the
network, and whoever could aim at collisions could hide any number of series behind one. `Sum` adds hashes up, so that
the order of attributes doesn't matter."""

from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef struct { uint64_t hi, lo; } card_hash_t;

    #define CARD_ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
    #define CARD_ROUND(v0, v1, v2, v3) do { \\
        v0 += v1; v2 += v3; v1 = CARD_ROTATE(v1, 13); v3 = CARD_ROTATE(v3, 16); v1 ^= v0; v3 ^= v2; \\
        v0 = CARD_ROTATE(v0, 32); v2 += v1; v0 += v3; v1 = CARD_ROTATE(v1, 17); v3 = CARD_ROTATE(v3, 21); \\
        v1 ^= v2; v3 ^= v0; v2 = CARD_ROTATE(v2, 32); } while (0)

    static inline card_hash_t card_siphash(card_hash_t key, const uint8_t *at, size_t size) {
        uint64_t v0 = key.hi ^ 0x736f6d6570736575ULL, v1 = key.lo ^ 0x646f72616e646f6dULL ^ 0xee;
        uint64_t v2 = key.hi ^ 0x6c7967656e657261ULL, v3 = key.lo ^ 0x7465646279746573ULL, word;
        uint64_t last = (uint64_t)size << 56;
        size_t left = size & 7, i;
        const uint8_t *end = at + (size - left);
        card_hash_t result;
        for (; at != end; at += 8) {
            memcpy(&word, at, 8);
            v3 ^= word;
            CARD_ROUND(v0, v1, v2, v3);
            v0 ^= word;
        }
        for (i = 0; i < left; i++) last |= (uint64_t)at[i] << (8 * i);
        v3 ^= last;
        CARD_ROUND(v0, v1, v2, v3);
        v0 ^= last;
        v2 ^= 0xee;
        CARD_ROUND(v0, v1, v2, v3); CARD_ROUND(v0, v1, v2, v3); CARD_ROUND(v0, v1, v2, v3);
        result.hi = v0 ^ v1 ^ v2 ^ v3;
        v1 ^= 0xdd;
        CARD_ROUND(v0, v1, v2, v3); CARD_ROUND(v0, v1, v2, v3); CARD_ROUND(v0, v1, v2, v3);
        result.lo = v0 ^ v1 ^ v2 ^ v3;
        return result;
    }
    """
    ctypedef struct Hash "card_hash_t":
        uint64_t hi
        uint64_t lo
    Hash siphash "card_siphash"(Hash key, const uint8_t *at, size_t size) noexcept nogil


cdef inline Hash both(Hash key, Hash first, Hash second) noexcept nogil:
    """One hash of two."""
    cdef uint64_t[4] words
    words[0] = first.hi
    words[1] = first.lo
    words[2] = second.hi
    words[3] = second.lo
    return siphash(key, <const uint8_t *>words, sizeof(words))


cdef inline void add_hash(Hash *sum, Hash each) noexcept nogil:
    sum.hi += each.hi
    sum.lo += each.lo


cdef inline void take_hash(Hash *sum, Hash each) noexcept nogil:
    sum.hi -= each.hi
    sum.lo -= each.lo
