"""The columns of a `SpanIndex` in one block of memory, each contiguous, the wide ones first."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    TRACE_HI            # of 64 bits
    TRACE_LO
    SPAN_ID
    PARENT_ID
    START
    END
    MATCHES
    OFFSET              # of 32 bits
    LENGTH
    RESOURCE_ROW
    SCOPE_ROW
    KIND
    STATUS_CODE
    FLAGS
    DEFECTS             # of 8 bits

cdef enum:
    WORDS = 7
    HALVES = 7
    ROW_BYTES = 8 * WORDS + 4 * HALVES + 1

cdef struct Columns:    # where they are while a scan fills them; halves[0] is OFFSET
    uint64_t* words[WORDS]
    uint32_t* halves[HALVES]
    uint8_t* defects

cdef class SpanIndex:
    cdef readonly Py_ssize_t count
    cdef cnp.ndarray block

    cdef int allocate(self, uint64_t spans, Columns* columns) except -1
    cdef object column(self, int which, int kind)
