"""Bytes that are written and read again: protobuf fields, and the state that outlives a restart."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from processors.wire.fields cimport write_varint

cdef struct Out:
    uint8_t *at
    size_t used
    size_t room
    bint failed              # memory is out: what was written is void

cdef struct In:
    const uint8_t *at
    const uint8_t *end
    bint failed              # there was less than was asked for


cdef inline uint8_t *out_room(Out *out, size_t size) noexcept nogil:
    """Where to write `size` bytes, or NULL."""
    cdef uint8_t *grown
    cdef size_t room
    if out.failed:
        return NULL
    if out.room - out.used < size:
        room = (out.used + size) * 2 + 256
        grown = <uint8_t *>realloc(out.at, room)
        if grown == NULL:
            out.failed = True
            return NULL
        out.at = grown
        out.room = room
    out.used += size
    return out.at + out.used - size


cdef inline void out_free(Out *out) noexcept nogil:
    free(out.at)
    memset(out, 0, sizeof(Out))


cdef inline void put(Out *out, const void *from_, size_t size) noexcept nogil:
    cdef uint8_t *at = out_room(out, size)
    if at != NULL and size:
        memcpy(at, from_, size)


cdef inline void put_byte(Out *out, uint8_t value) noexcept nogil:
    put(out, &value, 1)


cdef inline void put_varint(Out *out, uint64_t value) noexcept nogil:
    cdef uint8_t[10] text
    put(out, text, write_varint(text, value) - text)


cdef inline void put_zigzag(Out *out, int64_t value) noexcept nogil:
    put_varint(out, <uint32_t>((<uint64_t>value << 1) ^ <uint64_t>(value >> 63)))


cdef inline void put_u32(Out *out, uint32_t value) noexcept nogil:
    put(out, &value, 4)


cdef inline void put_u64(Out *out, uint64_t value) noexcept nogil:
    put(out, &value, 8)


cdef inline void put_real(Out *out, double value) noexcept nogil:
    put(out, &value, 8)


cdef inline void put_bytes(Out *out, const void *from_, size_t size) noexcept nogil:
    """With their size before them, as `take_bytes` reads it."""
    put_u64(out, size)
    put(out, from_, size)


cdef inline bint take(In *source, void *into, size_t size) noexcept nogil:
    if source.failed or <size_t>(source.end - source.at) < size:
        source.failed = True
        memset(into, 0, size)
        return False
    memcpy(into, source.at, size)
    source.at += size
    return True


cdef inline uint8_t take_byte(In *source) noexcept nogil:
    cdef uint8_t value
    take(source, &value, 1)
    return value


cdef inline uint32_t take_u32(In *source) noexcept nogil:
    cdef uint32_t value
    take(source, &value, 4)
    return value


cdef inline uint64_t take_u64(In *source) noexcept nogil:
    cdef uint64_t value
    take(source, &value, 8)
    return value


cdef inline double take_real(In *source) noexcept nogil:
    cdef double value
    take(source, &value, 8)
    return value


cdef inline bytes take_bytes(In *source):
    cdef uint64_t size = take_u64(source)
    cdef bytes value
    if source.failed or <uint64_t>(source.end - source.at) < size:
        source.failed = True
        return b""
    value = source.at[:size]
    source.at += size
    return value
