"""Recently kept spans by 128-bit fingerprint (MurmurHash3 x64_128), in two generations (see the .pyi)."""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef enum:
    FEWEST_SLOTS = 1024

cdef struct Fingerprint:
    uint64_t first
    uint64_t second

cdef struct Generation:
    Fingerprint *slots     # open addressing; all zero is empty
    uint64_t capacity
    uint64_t count


cdef inline uint64_t rotated(uint64_t value, int by) noexcept nogil:
    return (value << by) | (value >> (64 - by))


cdef inline uint64_t finished(uint64_t value) noexcept nogil:
    value ^= value >> 33
    value *= <uint64_t>0xFF51AFD7ED558CCD
    value ^= value >> 33
    value *= <uint64_t>0xC4CEB9FE1A85EC53
    return value ^ (value >> 33)


cdef Fingerprint murmur3(const uint8_t *data, uint64_t length, uint32_t seed) noexcept nogil:
    """MurmurHash3 x64_128 of little-endian words."""
    cdef uint64_t c1 = <uint64_t>0x87C37B91114253D5, c2 = <uint64_t>0x4CF5AD432745937F
    cdef uint64_t h1 = seed, h2 = seed, k1, k2, i, tail
    for i in range(length // 16):
        memcpy(&k1, data + i * 16, 8)
        memcpy(&k2, data + i * 16 + 8, 8)
        h1 ^= rotated(k1 * c1, 31) * c2
        h1 = (rotated(h1, 27) + h2) * 5 + 0x52DCE729
        h2 ^= rotated(k2 * c2, 33) * c1
        h2 = (rotated(h2, 31) + h1) * 5 + 0x38495AB5
    data += length & ~<uint64_t>15
    tail = length & 15
    k1 = k2 = 0
    for i in range(tail):
        if i < 8:
            k1 |= <uint64_t>data[i] << (8 * i)
        else:
            k2 |= <uint64_t>data[i] << (8 * (i - 8))
    h2 ^= rotated(k2 * c2, 33) * c1
    h1 ^= rotated(k1 * c1, 31) * c2
    h1 ^= length
    h2 ^= length
    h1 += h2
    h2 += h1
    h1 = finished(h1)
    h2 = finished(h2)
    h1 += h2
    h2 += h1
    return Fingerprint(h1, h2)


def fingerprint(const uint8_t[::1] data, uint32_t seed):
    cdef Fingerprint print_ = murmur3(&data[0] if data.shape[0] else NULL, data.shape[0], seed)
    return print_.first, print_.second


cdef bint holds(Generation *generation, Fingerprint wanted) noexcept nogil:
    cdef uint64_t mask = generation.capacity - 1, i = wanted.first & mask
    if generation.capacity == 0:
        return False
    while generation.slots[i].first | generation.slots[i].second:
        if generation.slots[i].first == wanted.first and generation.slots[i].second == wanted.second:
            return True
        i = (i + 1) & mask
    return False


cdef void put(Generation *generation, Fingerprint new) noexcept nogil:
    cdef uint64_t mask = generation.capacity - 1, i = new.first & mask
    while generation.slots[i].first | generation.slots[i].second:
        i = (i + 1) & mask
    generation.slots[i] = new
    generation.count += 1


cdef bint add(Generation *generation, Fingerprint new) noexcept nogil:
    cdef Generation larger
    cdef uint64_t i
    if (generation.count + 1) * 4 > generation.capacity * 3:
        larger.capacity = generation.capacity * 2 if generation.capacity else FEWEST_SLOTS
        larger.count = 0
        larger.slots = <Fingerprint *>calloc(larger.capacity, sizeof(Fingerprint))
        if larger.slots == NULL:
            return False
        for i in range(generation.capacity):
            if generation.slots[i].first | generation.slots[i].second:
                put(&larger, generation.slots[i])
        free(generation.slots)
        generation[0] = larger
    put(generation, new)
    return True


cdef void forget(Generation *generation) noexcept nogil:
    free(generation.slots)
    generation.slots = NULL
    generation.capacity = 0
    generation.count = 0


cdef class Fingerprints:
    cdef Generation newer
    cdef Generation older
    cdef uint32_t seed
    cdef uint64_t limit

    def __cinit__(self, uint64_t limit):
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.limit = limit

    def __dealloc__(self):
        free(self.newer.slots)
        free(self.older.slots)

    def __len__(self):
        return self.newer.count + self.older.count

    @property
    def memory(self):
        return (self.newer.capacity + self.older.capacity) * sizeof(Fingerprint)

    def rotate(self):
        forget(&self.older)
        self.older = self.newer
        self.newer = Generation(NULL, 0, 0)

    def clear(self):
        forget(&self.older)
        forget(&self.newer)

    def drop_seen(
        self,
        const uint8_t[::1] payload,
        const uint32_t[::1] offset,
        const uint32_t[::1] length,
        uint8_t[::1] mask,
    ):
        cdef Py_ssize_t i, n = mask.shape[0], dropped = 0
        cdef uint64_t size = payload.shape[0]
        cdef Fingerprint seen
        if not (offset.shape[0] == length.shape[0] == n):
            raise ValueError("columns of different lengths")
        with nogil:
            for i in range(n):
                if not mask[i] or length[i] == 0 or <uint64_t>offset[i] + length[i] > size:
                    continue
                seen = murmur3(&payload[offset[i]], length[i], self.seed)
                if holds(&self.newer, seen) or holds(&self.older, seen):
                    mask[i] = 0
                    dropped += 1
                    continue
                if self.newer.count >= self.limit:
                    forget(&self.older)
                    self.older = self.newer
                    self.newer = Generation(NULL, 0, 0)
                add(&self.newer, seen)    # without memory a copy goes through, which is allowed
        return dropped
