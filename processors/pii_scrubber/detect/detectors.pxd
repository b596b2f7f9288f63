"""For the other compiled modules of the scrubber."""

from libc.stdint cimport uint8_t, uint32_t

cdef struct Found:
    Py_ssize_t start
    Py_ssize_t end
    int kind

cdef class ValueDetectors:
    cdef uint32_t wanted            # a bit for every built-in kind
    cdef bint patterned             # there are patterns of the user's: they are Python's to match
    cdef uint32_t first[256]
    cdef uint32_t second[256]
    cdef object patterns
    cdef object replace             # (kind, found) -> what stands in for it
    cdef dict masks                 # what stands in for a kind, whatever was found

    cdef int may_hold(self, const uint8_t *at, Py_ssize_t size) noexcept nogil
    cdef bint next_found(
        self, const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t floor, Found *found
    ) noexcept nogil
    cdef bytes stand_in(self, int kind, const uint8_t *found, Py_ssize_t size)
