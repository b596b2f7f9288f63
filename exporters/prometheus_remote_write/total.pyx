"""What a delta adds to the total of its series."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from exporters.prometheus_remote_write.buckets cimport (
    COARSEST,
    WIDEST,
    Buckets,
    absorb,
    bucket_of,
    holds,
    merge,
    shrink,
    spread,
    upper,
)
from exporters.prometheus_remote_write.memory cimport copy


cdef void release(Total* total) noexcept:
    free(total.bounds)
    free(total.positive.counts)
    free(total.negative.counts)
    free(total)


cdef int add_explicit(
    Total* total, size_t bounds, const double* bound, const uint64_t* counts, uint64_t count, double sum, bint has_sum
) except -1:
    """Add a histogram of `bounds + 1` buckets. 1 where the bounds are new: then the total begins anew with it."""
    cdef size_t at
    cdef bint fresh = total.positive.count == 0 or total.bound_count != bounds
    if not fresh:
        for at in range(bounds):
            if total.bounds[at] != bound[at]:
                fresh = True
                break
    if fresh:
        free(total.bounds)
        free(total.positive.counts)
        total.bounds = <double*>malloc((bounds + 1) * sizeof(double))
        total.positive.counts = <uint64_t*>calloc(bounds + 1, sizeof(uint64_t))
        if total.bounds == NULL or total.positive.counts == NULL:
            raise MemoryError
        copy(total.bounds, bound, bounds * sizeof(double))
        total.bound_count = bounds
        total.positive.count = bounds + 1
        total.positive.offset = 0
        total.count = 0
        total.sum = 0
        total.has_sum = has_sum
    for at in range(bounds + 1):
        total.positive.counts[at] += counts[at]
    total.count += count
    total.sum += sum
    total.has_sum = total.has_sum and has_sum
    return fresh


cdef int add_exponential(
    Total* total, int32_t scale, uint64_t zero, double threshold, const Buckets* positive, const Buckets* negative,
    uint64_t count, double sum, bint has_sum
) except -1:
    """Add an exponential histogram at the finer of the scales that both can have. 1, and nothing is changed, where that
    is none that Prometheus knows."""
    cdef bint fresh = total.count == 0 and total.positive.count == 0 and total.negative.count == 0
    cdef int32_t target = scale if fresh else min(scale, total.scale)
    cdef size_t widest = max(<size_t>WIDEST, positive.count, negative.count)
    cdef int own, their
    widest = max(widest, total.positive.count, total.negative.count)
    while True:
        their = scale - target
        own = 0 if fresh else total.scale - target
        if (
            spread(&total.positive, own, positive, their) <= widest
            and spread(&total.negative, own, negative, their) <= widest
        ):
            break
        target -= 1
        if target < COARSEST:
            return 1
    if fresh:
        total.scale = target
        total.threshold = threshold
        total.has_sum = has_sum
    shrink(&total.positive, own)
    shrink(&total.negative, own)
    total.scale = target
    merge(&total.positive, positive, their)
    merge(&total.negative, negative, their)
    total.zero += zero
    # A narrower zero bucket becomes part of the wider one, and so does what lies within it.
    if threshold > total.threshold:
        widen(total, threshold)
    elif threshold < total.threshold:
        total.threshold, threshold = threshold, total.threshold
        widen(total, threshold)
    total.count += count
    total.sum += sum
    total.has_sum = total.has_sum and has_sum
    return 0


cdef int widen(Total* total, double threshold) except -1:
    """Let the zero bucket reach to `threshold` at least: to the border of the bucket in which it lies, if that isn't
    empty."""
    cdef int64_t last
    cdef uint64_t taken
    cdef bint inside
    if threshold <= total.threshold:
        return 0
    last = bucket_of(threshold, total.scale)
    inside = holds(&total.positive, last) or holds(&total.negative, last)
    if not inside:
        last -= 1
    taken = absorb(&total.positive, last) + absorb(&total.negative, last)
    total.zero += taken
    total.threshold = max(threshold, upper(last, total.scale)) if inside else threshold
    return 0
