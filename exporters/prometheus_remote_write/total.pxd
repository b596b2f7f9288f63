"""The running total of one delta series."""

from libc.stdint cimport int32_t, uint8_t, uint64_t

from exporters.prometheus_remote_write.buckets cimport Buckets

cdef enum:
    ENDS = 4                 # ends of intervals that are remembered


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


cdef void release(Total* total) noexcept
cdef int add_explicit(
    Total* total, size_t bounds, const double* bound, const uint64_t* counts, uint64_t count, double sum, bint has_sum
) except -1
cdef int add_exponential(
    Total* total, int32_t scale, uint64_t zero, double threshold, const Buckets* positive, const Buckets* negative,
    uint64_t count, double sum, bint has_sum
) except -1
