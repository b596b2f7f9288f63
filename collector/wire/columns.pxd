"""The columns of an index in one block of memory, each contiguous: those of 64 bits, then of 32, then of 8."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    MOST_WORDS = 8
    MOST_HALVES = 8
    MOST_BYTES = 4

cdef struct Columns:        # where they are while a scan fills them
    uint64_t* words[MOST_WORDS]
    uint32_t* halves[MOST_HALVES]
    uint8_t* bytes[MOST_BYTES]

cdef class Rows:
    cdef readonly Py_ssize_t count
    cdef int words
    cdef int halves
    cdef cnp.ndarray block

    cdef int allocate(self, uint64_t count, int words, int halves, int bytes, Columns* columns) except -1
    cdef object word(self, int which)
    cdef object half(self, int which, int kind=?)
    cdef object byte(self, int which, int kind=?)
