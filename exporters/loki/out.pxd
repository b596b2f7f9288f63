"""A buffer that grows, and protobuf's varints written to it."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy


cdef struct Out:
    uint8_t* data
    size_t size
    size_t room


cdef inline int make_room(Out* out, size_t more) except -1:
    """See to it that `more` bytes can be written behind what is there."""
    cdef size_t room
    cdef uint8_t* data
    if out.room - out.size >= more:
        return 0
    room = out.room + (out.room >> 1) + more + 64
    data = <uint8_t*>realloc(out.data, room)
    if data == NULL:
        raise MemoryError
    out.data = data
    out.room = room
    return 0


cdef inline int put(Out* out, const void* at, size_t size) except -1:
    make_room(out, size)
    if size:
        memcpy(out.data + out.size, at, size)
    out.size += size
    return 0


cdef inline int put_byte(Out* out, uint8_t byte) except -1:
    make_room(out, 1)
    out.data[out.size] = byte
    out.size += 1
    return 0


cdef inline int put_varint(Out* out, uint64_t value) except -1:
    make_room(out, 10)
    out.size = write_varint(out.data + out.size, value) - out.data
    return 0


cdef inline size_t varint_size(uint64_t value) noexcept nogil:
    cdef size_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline uint8_t* write_varint(uint8_t* at, uint64_t value) noexcept nogil:
    """Write `value` at `at`, where there is room for it (up to 10 bytes); returns the byte behind it."""
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t>value
    return at + 1
