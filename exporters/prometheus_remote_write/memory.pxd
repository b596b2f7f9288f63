"""Arrays of C: how they grow, and what C leaves undefined of those without elements, defined."""

from libc.stdlib cimport realloc
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
