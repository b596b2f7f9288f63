"""Running totals of delta series."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    ENDS = 4                 # ends of intervals that are remembered

cdef enum Place:
    NEXT                     # to be added
    AGAIN                    # the newest interval once more
    KNOWN                    # added before
    BEHIND                   # never added, but newer ones were
    FULL                     # a series that there is no room for


cdef struct Buckets:
    int64_t offset
    uint64_t* counts
    size_t count


cdef struct Total:
    uint64_t lo, hi
    uint64_t start           # ns, of the first interval
    uint64_t[ENDS] ends      # ns, the newest first; 0 where there were fewer
    uint64_t seen            # ns, the newest time of any series when this one got its last delta
    uint64_t count, zero
    double sum, threshold
    double* bounds
    Buckets positive, negative
    size_t bound_count
    int32_t scale
    uint8_t kind, has_sum, changed


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

cdef int add_explicit(
    Total* total, size_t bounds, const double* bound, const uint64_t* counts, uint64_t count, double sum, bint has_sum
) except -1
cdef int add_exponential(
    Total* total, int32_t scale, uint64_t zero, double threshold, const Buckets* positive, const Buckets* negative,
    uint64_t count, double sum, bint has_sum
) except -1
cdef void shrink(Buckets* buckets, int by) noexcept nogil
cdef void trim(Buckets* buckets) noexcept nogil
cdef bint representable(int32_t scale, const Buckets* positive, const Buckets* negative) noexcept nogil
