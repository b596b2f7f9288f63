"""A buffer that grows, and protobuf's fields written to it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove

from exporters.wire.fields cimport varint_size, write_varint
from exporters.wire.numbers cimport bits_of, write_fixed64


cdef struct Buffer:
    uint8_t* data            # freed by the owner
    size_t used
    size_t room


cdef inline int reserve(Buffer* out, size_t more) except -1:
    """Make room for `more` bytes behind those used."""
    cdef size_t room
    cdef uint8_t* data
    if out.room - out.used >= more:
        return 0
    room = out.room + out.room // 2 + more + 64
    data = <uint8_t*>realloc(out.data, room)
    if data == NULL:
        raise MemoryError
    out.data = data
    out.room = room
    return 0


cdef inline int put(Buffer* out, const void* data, size_t size) except -1:
    if size == 0:
        return 0                 # there may be no buffer yet, which memcpy must not see
    reserve(out, size)
    memcpy(out.data + out.used, data, size)
    out.used += size
    return 0


cdef inline int put_byte(Buffer* out, uint8_t byte) except -1:
    reserve(out, 1)
    out.data[out.used] = byte
    out.used += 1
    return 0


cdef inline int put_varint(Buffer* out, uint64_t value) except -1:
    reserve(out, 10)
    out.used = write_varint(out.data + out.used, value) - out.data
    return 0


cdef inline int put_double(Buffer* out, uint8_t tag, double value) except -1:
    """A `double` field whose tag takes one byte."""
    cdef uint64_t bits = bits_of(value)
    reserve(out, 9)
    out.data[out.used] = tag
    write_fixed64(out.data + out.used + 1, bits)
    out.used += 9
    return 0


cdef inline int open_length(Buffer* out, uint32_t tag, size_t* place) except -1:
    """Begin a field of unknown length; `place` is what `close_length` needs."""
    put_varint(out, tag)
    put_varint(out, 0)
    place[0] = out.used
    return 0


cdef inline int close_length(Buffer* out, size_t place) except -1:
    cdef size_t size = out.used - place
    cdef size_t width = varint_size(size)
    if width > 1:
        reserve(out, width - 1)
        memmove(out.data + place + width - 1, out.data + place, size)
        out.used += width - 1
    write_varint(out.data + place - 1, size)
    return 0
