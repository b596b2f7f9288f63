"""Arrays of C: how they grow, and what C leaves undefined of those without elements, defined."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy


cdef inline void copy(void* to, const void* data, size_t size) noexcept nogil:
    """memcpy, which must not see the NULL of an array without elements."""
    if size:
        memcpy(to, data, size)


cdef inline bint same(const void* one, const void* other, size_t size) noexcept nogil:
    return size == 0 or memcmp(one, other, size) == 0


cdef inline void* grown(void* data, size_t count, size_t* room, size_t size) except? NULL:
    """`data` with room for one more than `count` elements."""
    cdef size_t more
    cdef void* moved
    if count < room[0]:
        return data
    more = room[0] + room[0] // 2 + 64
    moved = realloc(data, more * size)
    if moved == NULL:
        raise MemoryError
    room[0] = more
    return moved


cdef inline uint32_t* rehashed(
    uint32_t* old, size_t* mask, const void* elements, size_t size, size_t count
) except NULL:
    """Twice as many slots for `count` elements, numbered from 1 on, each of which begins with its hash of 64 bits."""
    cdef size_t larger = mask[0] * 2 + 1, at, slot
    cdef uint32_t* slots = <uint32_t*>calloc(larger + 1, sizeof(uint32_t))
    if slots == NULL:
        raise MemoryError
    for at in range(count):
        slot = (<const uint64_t*>(<const char*>elements + at * size))[0] & larger
        while slots[slot]:
            slot = (slot + 1) & larger
        slots[slot] = <uint32_t>(at + 1)
    free(old)
    mask[0] = larger
    return slots
