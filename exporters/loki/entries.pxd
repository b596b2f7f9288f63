"""See `entries.pyx`."""

from libc.stdint cimport uint32_t, uint64_t

from exporters.wire.buffer cimport Buffer


cdef struct Entry:
    uint64_t time
    size_t offset            # of the whole field in `content`
    uint32_t size
    uint32_t row
    uint32_t stream


cdef class Entries:
    cdef Buffer content         # fields `entries` of logproto.StreamAdapter, tag and length included
    cdef Entry* entries
    cdef size_t count
    cdef size_t room
    cdef readonly list labels
    cdef readonly object refused
    cdef readonly tuple adjusted

    cdef size_t _run(self, const uint32_t[::1] positions, size_t first, size_t* after)
    cdef Entry* add(self) except NULL
    cdef int sort(self) except -1
