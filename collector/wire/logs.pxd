"""Which columns a `LogIndex` has."""

from collector.wire.columns cimport Rows

cdef enum:          # of 64 bits
    TIME
    OBSERVED
    TRACE_HI
    TRACE_LO
    SPAN_ID
    WORDS

cdef enum:          # of 32 bits
    OFFSET
    LENGTH
    SEVERITY
    FLAGS
    RESOURCE_ROW
    SCOPE_ROW
    HALVES

cdef enum:          # of 8 bits
    DEFECTS
    BYTES

cdef class LogIndex(Rows):
    pass
