"""Attributes in the one encoding that protobuf itself writes, so that equal ones have equal hashes."""

from libc.stdint cimport uint8_t, uint64_t

from collector.wire.buffer cimport Buffer
from collector.wire.murmur3 cimport murmur3_64
from collector.wire.schema cimport SOUND

cdef int put_key_value(Buffer* out, const uint8_t* p, const uint8_t* end, int depth) noexcept nogil


cdef inline bint is_shortest(const uint8_t* p, Py_ssize_t size) noexcept nogil:
    """Whether these bytes are one varint, no longer than it needs to be. False for the longest ones: perhaps not."""
    cdef Py_ssize_t i
    if size == 1:
        return p[0] < 0x80
    if size > 9:
        return False
    for i in range(size - 1):
        if p[i] < 0x80:
            return False
    return 0 < p[size - 1] < 0x80


cdef inline bint is_canonical(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Whether this is a KeyValue as SDKs write it: a key, then a scalar value, one-byte lengths. False: perhaps not."""
    cdef Py_ssize_t size = end - p
    cdef Py_ssize_t key, value
    if size < 7 or p[0] != 0x0a:
        return False
    key = p[1]
    value = size - key - 4
    if key == 0 or value < 2 or value > 127 or key > 127:
        return False
    p += 2 + key
    if p[0] != 0x12 or p[1] != value:
        return False
    if p[2] == 0x0a:                                    # string_value
        return p[3] == value - 2
    if p[2] == 0x18:                                    # int_value
        return is_shortest(p + 3, value - 1)
    if p[2] == 0x10:                                    # bool_value
        return value == 2 and p[3] < 2
    return p[2] == 0x21 and value == 9                  # double_value


cdef inline int hash_key_value(const uint8_t* p, const uint8_t* end, Buffer* scratch, uint64_t* sum) noexcept nogil:
    """Adds the hash of a `KeyValue`."""
    cdef int fault
    if is_canonical(p, end):
        sum[0] += murmur3_64(p, end - p)
        return SOUND
    scratch.used = 0
    fault = put_key_value(scratch, p, end, 100)
    if fault == SOUND and scratch.used:
        sum[0] += murmur3_64(scratch.data, scratch.used)
    return fault
