"""Texts by number: the same text always gets the same one, 0, 1, 2, ... in the order in which they came."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from exporters.wire.buffer cimport Buffer, put

cdef extern from *:
    """
    static inline uint64_t loki_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t loki_mix(uint64_t a, uint64_t b) noexcept nogil


cdef struct Known:
    uint64_t hash
    size_t offset            # in `text`
    size_t size


cdef struct Interner:
    uint64_t seed            # secret: texts come from the network
    uint32_t* slots          # number + 1 of the text that is there, or 0
    size_t mask
    Known* known
    uint32_t count
    size_t room
    Buffer text


cdef inline uint64_t hash_text(const uint8_t* at, size_t size, uint64_t seed) noexcept nogil:
    cdef uint64_t a = 0, b = 0, h = seed, other = seed ^ <uint64_t>0xA0761D6478BD642F
    cdef size_t left = size
    while left > 16:
        memcpy(&a, at, 8)
        memcpy(&b, at + 8, 8)
        h = loki_mix(a ^ other, b ^ h)
        at += 16
        left -= 16
    a = b = 0
    if left >= 8:
        memcpy(&a, at, 8)
        memcpy(&b, at + left - 8, 8)
    elif left:
        memcpy(&a, at, left)
    return loki_mix(<uint64_t>0xE7037ED1A0B428DB ^ size, loki_mix(a ^ other, b ^ h))


cdef inline int grow(Interner* texts) except -1:
    cdef size_t slots = 64 if texts.slots == NULL else 2 * (texts.mask + 1), i, at
    cdef uint32_t* fresh = <uint32_t*>calloc(slots, sizeof(uint32_t))
    cdef Known* known
    if fresh == NULL:
        raise MemoryError
    known = <Known*>realloc(texts.known, slots // 2 * sizeof(Known))
    if known == NULL:
        free(fresh)
        raise MemoryError
    for i in range(texts.count):
        at = known[i].hash & (slots - 1)
        while fresh[at]:
            at = (at + 1) & (slots - 1)
        fresh[at] = <uint32_t>(i + 1)
    free(texts.slots)
    texts.slots = fresh
    texts.mask = slots - 1
    texts.known = known
    texts.room = slots // 2
    return 0


cdef inline int64_t intern(Interner* texts, const uint8_t* at, size_t size) except -1:
    """The number of this text, which is `count` of before where it is a new one."""
    cdef uint64_t hashed = hash_text(at, size, texts.seed)
    cdef size_t slot
    cdef Known* one
    if texts.count >= texts.room:
        grow(texts)
    slot = hashed & texts.mask
    while texts.slots[slot]:
        one = &texts.known[texts.slots[slot] - 1]
        if one.hash == hashed and one.size == size and (
            size == 0 or memcmp(texts.text.data + one.offset, at, size) == 0
        ):
            return texts.slots[slot] - 1
        slot = (slot + 1) & texts.mask
    one = &texts.known[texts.count]
    one.hash = hashed
    one.offset = texts.text.used
    one.size = size
    put(&texts.text, at, size)
    texts.count += 1
    texts.slots[slot] = texts.count
    return texts.count - 1


cdef inline void forget(Interner* texts) noexcept nogil:
    """Begin anew, in the same memory."""
    if texts.slots != NULL:
        memset(texts.slots, 0, (texts.mask + 1) * sizeof(uint32_t))
    texts.count = 0
    texts.text.used = 0


cdef inline void release(Interner* texts) noexcept nogil:
    free(texts.slots)
    free(texts.known)
    free(texts.text.data)
