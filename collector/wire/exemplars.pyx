"""Where the exemplars of a metrics request are, and of which traces they speak. The contract is in the .pyi."""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport fabs, frexp, isfinite
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from collector.wire.fields cimport BYTES, FIXED64, Field, read_field
from collector.wire.varint cimport load_be64, load_le64

from collector.wire.malformed import Malformed

cdef enum:
    HISTOGRAM = 9
    EXPONENTIAL = 10

# The number of the field `exemplars` in the data point of each kind, and of `explicit_bounds` in a HistogramDataPoint.
cdef enum:
    IN_NUMBER = 5
    IN_HISTOGRAM = 8
    IN_EXPONENTIAL = 11
    BOUNDS = 7

cdef struct Row:
    uint32_t offset
    uint32_t length
    uint64_t hi
    uint64_t lo
    int64_t bucket


class Exemplars:
    __slots__ = (
        "body_length", "body_offset", "bucket", "count", "length", "offset", "point", "trace_hi", "trace_lo",
    )


cdef inline double as_double(uint64_t bits) noexcept nogil:
    cdef double value
    memcpy(&value, &bits, 8)
    return value


cdef int64_t bucket_of(int kind, double value, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """The bucket of a point, from `p` to `end`, that holds `value`; -1 where the point is malformed."""
    cdef Field field
    cdef const uint8_t* at
    cdef int64_t bucket = 0
    cdef int exponent = 0
    if kind == EXPONENTIAL and isfinite(value) and value != 0:
        frexp(fabs(value), &exponent)
        return 2 * (exponent + 1100) + (value < 0)
    if kind != HISTOGRAM:
        return 0
    while p < end:
        if read_field(p, end, &field) < 0:
            return -1
        p = field.after
        if field.number != BOUNDS:
            continue
        at = field.body
        if field.wire == FIXED64:
            bucket += value > as_double(field.value)
        elif field.wire == BYTES:
            while field.after - at >= 8:
                bucket += value > as_double(load_le64(at))
                at += 8
    return bucket


cdef int read_exemplar(const uint8_t* p, const uint8_t* end, Row* row, double* value) noexcept nogil:
    cdef Field field
    row.hi = row.lo = 0
    value[0] = 0
    while p < end:
        if read_field(p, end, &field) < 0:
            return -1
        p = field.after
        if field.number == 5 and field.wire == BYTES:
            row.hi = row.lo = 0
            if field.after - field.body == 16:
                row.hi = load_be64(field.body)
                row.lo = load_be64(field.body + 8)
        elif field.number == 3 and field.wire == FIXED64:
            value[0] = as_double(field.value)
        elif field.number == 6 and field.wire == FIXED64:
            value[0] = <double><int64_t>field.value
    return 0


def find_exemplars(bytes payload not None, index not None):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef uint64_t size = PyBytes_GET_SIZE(payload)
    cdef const uint32_t[::1] offset = index.offset, length = index.length, exemplars = index.exemplars
    cdef const uint8_t[::1] kind = index.kind
    cdef Py_ssize_t total = int(np.sum(index.exemplars, dtype=np.int64)), found = 0, point
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* body
    cdef uint32_t number, left
    cdef Field field
    cdef Row row
    cdef double value = 0
    if total > <Py_ssize_t>size:        # no exemplar takes less than two bytes
        raise ValueError("the index doesn't fit the payload")
    out = Exemplars()
    cdef uint32_t[::1] out_point = np.empty(total, np.uint32), out_offset = np.empty(total, np.uint32)
    cdef uint32_t[::1] out_length = np.empty(total, np.uint32)
    cdef uint32_t[::1] body_offset = np.empty(total, np.uint32), body_length = np.empty(total, np.uint32)
    cdef uint64_t[::1] hi = np.empty(total, np.uint64), lo = np.empty(total, np.uint64)
    cdef int64_t[::1] bucket = np.empty(total, np.int64)
    for point in range(offset.shape[0]):
        left = exemplars[point]
        if not left:
            continue
        if offset[point] > size or length[point] > size - offset[point]:
            raise ValueError("the index doesn't fit the payload")
        number = IN_HISTOGRAM if kind[point] == HISTOGRAM else IN_EXPONENTIAL if kind[point] == EXPONENTIAL else IN_NUMBER
        body = p = base + offset[point]
        end = p + length[point]
        while p < end:
            if read_field(p, end, &field) < 0:
                raise Malformed("not an OTLP metrics request: the protobuf encoding is broken")
            p = field.after
            if field.number != number or field.wire != BYTES:
                continue
            if found == total:
                raise ValueError("the index doesn't fit the payload")
            if read_exemplar(field.body, field.after, &row, &value) < 0:
                raise Malformed("not an OTLP metrics request: the protobuf encoding is broken")
            body_offset[found] = <uint32_t>(field.body - base)
            body_length[found] = <uint32_t>field.value
            out_point[found] = <uint32_t>point
            out_offset[found] = <uint32_t>(field.start - base)
            out_length[found] = <uint32_t>(field.after - field.start)
            hi[found] = row.hi
            lo[found] = row.lo
            bucket[found] = bucket_of(kind[point], value, body, end)
            found += 1
    out.count = found
    out.point, out.offset, out.length = (np.asarray(each)[:found] for each in (out_point, out_offset, out_length))
    out.body_offset, out.body_length = np.asarray(body_offset)[:found], np.asarray(body_length)[:found]
    out.trace_hi, out.trace_lo = np.asarray(hi)[:found], np.asarray(lo)[:found]
    out.bucket = np.asarray(bucket)[:found]
    return out
