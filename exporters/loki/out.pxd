"""A buffer that grows, and protobuf's varints written to it."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from exporters.wire.fields cimport write_varint


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
