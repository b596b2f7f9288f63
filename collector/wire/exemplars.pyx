"""Where the exemplars of a metrics request are, and of which traces they speak. The contract is in the .pyi."""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport fabs, frexp, isfinite
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from collector.wire.columns cimport Columns, Rows
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
    uint64_t hi
    uint64_t lo


cdef enum:      # the columns
    TRACE_HI = 0
    TRACE_LO = 1
    BUCKET = 2
    WORDS = 3
    POINT = 0
    OFFSET = 1
    LENGTH = 2
    BODY_OFFSET = 3
    BODY_LENGTH = 4
    HALVES = 5


cdef class Exemplars(Rows):
    @property
    def point(self):
        return self.half(POINT)

    @property
    def offset(self):
        return self.half(OFFSET)

    @property
    def length(self):
        return self.half(LENGTH)

    @property
    def body_offset(self):
        return self.half(BODY_OFFSET)

    @property
    def body_length(self):
        return self.half(BODY_LENGTH)

    @property
    def trace_hi(self):
        return self.word(TRACE_HI)

    @property
    def trace_lo(self):
        return self.word(TRACE_LO)

    @property
    def bucket(self):
        return self.word(BUCKET).view(np.int64)


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
    cdef Columns columns
    cdef Exemplars out = Exemplars.__new__(Exemplars)
    if total > <Py_ssize_t>size:        # no exemplar takes less than two bytes
        raise ValueError("the index doesn't fit the payload")
    out.allocate(total, WORDS, HALVES, 0, &columns)
    for point in range(offset.shape[0]):
        left = exemplars[point]
        if not left:
            continue
        if offset[point] > size or length[point] > size - offset[point]:
            raise ValueError("the index doesn't fit the payload")
        number = IN_NUMBER
        if kind[point] == HISTOGRAM:
            number = IN_HISTOGRAM
        elif kind[point] == EXPONENTIAL:
            number = IN_EXPONENTIAL
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
            columns.halves[POINT][found] = <uint32_t>point
            columns.halves[OFFSET][found] = <uint32_t>(field.start - base)
            columns.halves[LENGTH][found] = <uint32_t>(field.after - field.start)
            columns.halves[BODY_OFFSET][found] = <uint32_t>(field.body - base)
            columns.halves[BODY_LENGTH][found] = <uint32_t>field.value
            columns.words[TRACE_HI][found] = row.hi
            columns.words[TRACE_LO][found] = row.lo
            columns.words[BUCKET][found] = <uint64_t>bucket_of(kind[point], value, body, end)
            found += 1
    if found != total:
        raise ValueError("the index doesn't fit the payload")
    return out
