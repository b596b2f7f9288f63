"""See `lines.pyx`."""

from libc.stdint cimport uint64_t

from exporters.loki.any_value cimport Span
from exporters.loki.metadata cimport Metadata
from exporters.loki.records cimport Record
from exporters.wire.buffer cimport Buffer


cdef class Lines(Metadata):
    cdef bint cut_lines
    cdef uint64_t max_line
    cdef Span scope_name
    cdef Buffer line

    cdef Span _body_line(self, Record* record, bint* cut) except *
    cdef Span _json_line(self, Record* record, uint64_t time, int level, bint* cut) except *
    cdef bint _cut_message(self, Record* record, size_t begin, size_t end) except *
