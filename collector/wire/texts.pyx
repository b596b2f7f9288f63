"""One field or string attribute of many messages, found without decoding any. The contract is in the .pyi."""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from collector.wire.fields cimport BYTES, FIXED64, VARINT, Field, read_field

from collector.wire.malformed import Malformed


cdef int text_of_value(const uint8_t* p, const uint8_t* end, Field* text) noexcept nogil:
    """The string of an AnyValue, whose last field counts; length 0 where that is no string."""
    cdef Field field
    while p < end:
        if read_field(p, end, &field) < 0:
            return -1
        p = field.after
        if field.number == 1 and field.wire == BYTES:
            text[0] = field
        elif 2 <= field.number <= 7:
            if field.wire == (VARINT if field.number < 4 else FIXED64 if field.number == 4 else BYTES):
                text.value = 0      # another member of the oneof
    return 0


cdef int look(
    const uint8_t* p, const uint8_t* end, uint32_t wanted, const uint8_t* key, size_t size, Field* text
) noexcept nogil:
    """The text of the last attribute `key`; its length is 0 where there is none."""
    cdef Field field, inner, found
    cdef const uint8_t* at
    cdef bint same
    text.value = 0
    while p < end:
        if read_field(p, end, &field) < 0:
            return -1
        p = field.after
        if field.number != wanted or field.wire != BYTES:
            continue
        at = field.body
        same = size == 0
        found.value = 0
        found.body = at
        while at < field.after:
            if read_field(at, field.after, &inner) < 0:
                return -1
            at = inner.after
            if inner.number == 1 and inner.wire == BYTES:
                same = inner.value == size and memcmp(inner.body, key, size) == 0
            elif inner.number == 2 and inner.wire == BYTES and text_of_value(inner.body, inner.after, &found) < 0:
                return -1
        if same:
            text[0] = found
    return 0


def find_text(
    bytes payload not None, const uint32_t[::1] offset, const uint32_t[::1] length, uint32_t field, bytes key not None
):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef uint64_t size = PyBytes_GET_SIZE(payload)
    cdef const uint8_t* wanted = <const uint8_t*>PyBytes_AS_STRING(key)
    cdef size_t wanted_size = PyBytes_GET_SIZE(key)
    cdef Py_ssize_t row, rows = offset.shape[0]
    cdef Field text
    cdef int problem = 0
    if length.shape[0] != rows:
        raise ValueError("columns of different lengths")
    out_offset, out_length = np.zeros(rows, np.uint32), np.zeros(rows, np.uint32)
    cdef uint32_t[::1] at = out_offset, sizes = out_length
    with nogil:
        for row in range(rows):
            if offset[row] > size or length[row] > size - offset[row]:
                problem = 2
                break
            if look(base + offset[row], base + offset[row] + length[row], field, wanted, wanted_size, &text) < 0:
                problem = 1
                break
            if text.value:
                at[row] = <uint32_t>(text.body - base)
                sizes[row] = <uint32_t>text.value
    if problem == 1:
        raise Malformed("not an OTLP request: the protobuf encoding is broken")
    if problem:
        raise ValueError("the columns don't fit the payload")
    return out_offset, out_length


def find_field(bytes payload not None, const uint32_t[::1] offset, const uint32_t[::1] length, uint32_t field):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef uint64_t size = PyBytes_GET_SIZE(payload)
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef Py_ssize_t row, rows = offset.shape[0]
    cdef Field each
    cdef int problem = 0
    if length.shape[0] != rows:
        raise ValueError("columns of different lengths")
    out_offset, out_length = np.zeros(rows, np.uint32), np.zeros(rows, np.uint32)
    cdef uint32_t[::1] at = out_offset, sizes = out_length
    with nogil:
        for row in range(rows):
            if offset[row] > size or length[row] > size - offset[row]:
                problem = 2
                break
            p = base + offset[row]
            end = p + length[row]
            while p < end:
                if read_field(p, end, &each) < 0:
                    problem = 1
                    break
                p = each.after
                if each.number == field and each.wire == BYTES:
                    at[row] = <uint32_t>(each.body - base)
                    sizes[row] = <uint32_t>each.value
            if problem:
                break
    if problem == 1:
        raise Malformed("not an OTLP request: the protobuf encoding is broken")
    if problem:
        raise ValueError("the columns don't fit the payload")
    return out_offset, out_length


def resource_bodies(bytes payload not None):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = base + PyBytes_GET_SIZE(payload)
    cdef const uint8_t* p = base
    cdef list offsets = [], lengths = []
    cdef Field each
    while p < end:
        if read_field(p, end, &each) < 0:
            raise Malformed("not an OTLP request: the protobuf encoding is broken")
        p = each.after
        if each.number == 1 and each.wire == BYTES:
            offsets.append(each.body - base)
            lengths.append(each.value)
    return find_field(payload, np.array(offsets, np.uint32), np.array(lengths, np.uint32), 1)
