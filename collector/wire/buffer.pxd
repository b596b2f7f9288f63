"""A byte buffer that grows, for writers that run without the GIL."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove

from collector.wire.fields cimport varint_size, write_varint


cdef struct Buffer:
    uint8_t* data            # freed by the owner
    size_t used
    size_t room


cdef inline int reserve(Buffer* out, size_t more) noexcept nogil:
    """Make room for `more` bytes behind those used. Returns -1 when there is no memory."""
    cdef size_t room
    cdef uint8_t* data
    if out.room - out.used >= more:
        return 0
    room = out.room + out.room // 2 + more + 64
    data = <uint8_t*>realloc(out.data, room)
    if data == NULL:
        return -1
    out.data = data
    out.room = room
    return 0


cdef inline int put(Buffer* out, const void* bytes, size_t size) noexcept nogil:
    if size == 0:
        return 0                 # there may be no buffer yet, which memcpy must not see
    if reserve(out, size) < 0:
        return -1
    memcpy(out.data + out.used, bytes, size)
    out.used += size
    return 0


cdef inline int put_byte(Buffer* out, uint8_t byte) noexcept nogil:
    if reserve(out, 1) < 0:
        return -1
    out.data[out.used] = byte
    out.used += 1
    return 0


cdef inline int put_varint(Buffer* out, uint64_t value) noexcept nogil:
    if reserve(out, 10) < 0:
        return -1
    out.used = write_varint(out.data + out.used, value) - out.data
    return 0


cdef inline int open_length(Buffer* out, uint32_t tag, size_t* place) noexcept nogil:
    """Begin a field of unknown length; `place` is what `close_length` needs."""
    if put_varint(out, tag) < 0 or put_byte(out, 0) < 0:
        return -1
    place[0] = out.used
    return 0


cdef inline int close_length(Buffer* out, size_t place) noexcept nogil:
    cdef size_t size = out.used - place
    cdef size_t width = varint_size(size)
    if width > 1:
        if reserve(out, width - 1) < 0:
            return -1
        memmove(out.data + place + width - 1, out.data + place, size)
        out.used += width - 1
    write_varint(out.data + place - 1, size)
    return 0
