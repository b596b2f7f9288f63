"""What C leaves undefined of arrays without elements, defined."""

from libc.string cimport memcmp, memcpy


cdef inline void copy(void* to, const void* data, size_t size) noexcept nogil:
    """memcpy, which must not see the NULL of an array without elements."""
    if size:
        memcpy(to, data, size)


cdef inline bint same(const void* one, const void* other, size_t size) noexcept nogil:
    return size == 0 or memcmp(one, other, size) == 0
