"""Reads attributes as names and values of labels."""

from libc.stdint cimport uint8_t, uint32_t

from exporters.prometheus_remote_write.labels cimport Attributes
from exporters.prometheus_remote_write.series cimport SeriesTable
from exporters.wire.buffer cimport Buffer


cdef class LabelReader:
    cdef SeriesTable table
    cdef object render
    cdef bint utf8
    cdef Buffer scratch, joined

    cdef int read_label(self, Attributes* list, const uint8_t* at, const uint8_t* end) except -1
    cdef uint32_t value_of(self, Attributes* list, size_t first, size_t end) except? 4294967295
    cdef int join(self, uint32_t symbol) except -1
