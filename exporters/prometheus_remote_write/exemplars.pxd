"""Attaches exemplars to samples."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from exporters.prometheus_remote_write.label_reader cimport LabelReader
from exporters.prometheus_remote_write.labels cimport Attributes
from exporters.prometheus_remote_write.request cimport Text, next_field
from exporters.prometheus_remote_write.samples cimport SampleTable
from exporters.wire.fields cimport FIXED64, Field
from exporters.wire.numbers cimport load64, load_double


@cython.final
cdef class Exemplars(LabelReader):
    cdef Attributes own, chosen
    cdef uint32_t trace_id, span_id

    cdef int begin(self, SampleTable table) except -1
    cdef int attach(self, SampleTable table, const uint8_t* begin, const uint8_t* end) except -1
    cdef uint64_t choose_labels(self, const uint8_t* at, const uint8_t* end, int* cut) except? 18446744073709551615
    cdef uint32_t hex(self, Text* identifier) except? 4294967295


cdef inline double exemplar_value(const uint8_t* at, const uint8_t* end) except? -1:
    cdef Field field
    cdef double value = 0
    while at < end:
        next_field(at, end, &field)
        at = field.after
        if field.wire == FIXED64 and field.number == 3:
            value = load_double(field.body)
        elif field.wire == FIXED64 and field.number == 6:
            value = <double><int64_t>load64(field.body)
    return value
