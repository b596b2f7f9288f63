"""Running totals of delta series."""

from libc.stdint cimport uint8_t, uint64_t

from exporters.prometheus_remote_write.total cimport Total

cdef enum Place:
    NEXT                     # to be added
    AGAIN                    # the newest interval once more
    KNOWN                    # added before
    BEHIND                   # never added, but newer ones were
    FULL                     # a series that there is no room for


cdef class Accumulator:
    cdef Total** slots
    cdef size_t mask
    cdef readonly size_t count
    cdef size_t most
    cdef uint64_t stale, swept
    cdef Total** changes
    cdef size_t change_count, change_room
    cdef list expired
    cdef readonly uint64_t duplicates

    cdef Place place(
        self, uint64_t lo, uint64_t hi, uint8_t kind, uint64_t start, uint64_t end, uint64_t now, Total** found
    ) except *
    cdef int commit(self, Total* total, uint64_t start, uint64_t end, uint64_t now) except -1
    cdef int insert(self, Total* total) except -1
    cdef int rebuild(self, size_t mask) except -1
    cdef int sweep(self, uint64_t now) except -1
    cdef Total* found(self, uint64_t lo, uint64_t hi) noexcept
