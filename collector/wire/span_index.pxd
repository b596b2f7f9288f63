"""Which columns a `SpanIndex` has."""

from collector.wire.columns cimport Rows

cdef enum:          # of 64 bits
    TRACE_HI
    TRACE_LO
    SPAN_ID
    PARENT_ID
    START
    END
    MATCHES
    WORDS

cdef enum:          # of 32 bits
    OFFSET
    LENGTH
    RESOURCE_ROW
    SCOPE_ROW
    KIND
    STATUS_CODE
    FLAGS
    HALVES

cdef enum:          # of 8 bits
    DEFECTS
    BYTES

cdef class SpanIndex(Rows):
    pass
