"""Buckets of exponential histograms as dense counts: made coarser, and brought together."""

from libc.math cimport ceil, fabs, floor, frexp, ldexp, log2, rint
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

cdef enum:
    WIDEST = 512             # buckets a side, unless the points themselves have more
    COARSEST = -4            # the smallest scale that Prometheus knows


cdef struct Buckets:
    int64_t offset
    uint64_t* counts
    size_t count


cdef inline void trim(Buckets* buckets) noexcept nogil:
    """Drop empty buckets at both ends."""
    cdef size_t first = 0
    while buckets.count and buckets.counts[buckets.count - 1] == 0:
        buckets.count -= 1
    while first < buckets.count and buckets.counts[first] == 0:
        first += 1
    if first:
        memmove(buckets.counts, buckets.counts + first, (buckets.count - first) * sizeof(uint64_t))
        buckets.count -= first
        buckets.offset += first


cdef inline void shrink(Buckets* buckets, int by) noexcept nogil:
    """Halve the resolution `by` times, in place: bucket i becomes part of bucket floor(i / 2**by)."""
    cdef int64_t first, index
    cdef size_t at
    cdef uint64_t value
    if by <= 0 or buckets.count == 0:
        return
    if by > 62:
        by = 62
    first = buckets.offset >> by
    for at in range(buckets.count):
        value = buckets.counts[at]
        buckets.counts[at] = 0
        index = ((buckets.offset + <int64_t>at) >> by) - first
        buckets.counts[index] += value
    buckets.count = <size_t>(((buckets.offset + <int64_t>buckets.count - 1) >> by) - first + 1)
    buckets.offset = first


cdef inline int64_t last_after(const Buckets* buckets, int by) noexcept nogil:
    return (buckets.offset + <int64_t>buckets.count - 1) >> by


cdef inline size_t spread(const Buckets* one, int one_by, const Buckets* other, int other_by) noexcept nogil:
    """How many buckets both take together, each coarsened by that many steps."""
    cdef int64_t first, last
    if one.count == 0 and other.count == 0:
        return 0
    if one.count == 0:
        first, last = other.offset >> other_by, last_after(other, other_by)
    elif other.count == 0:
        first, last = one.offset >> one_by, last_after(one, one_by)
    else:
        first = min(one.offset >> one_by, other.offset >> other_by)
        last = max(last_after(one, one_by), last_after(other, other_by))
    return <size_t>(last - first + 1)


cdef inline int merge(Buckets* into, const Buckets* other, int by) except -1:
    """Add `other`, coarsened by `by` steps, to `into`, which has that scale already."""
    cdef int64_t first, last
    cdef uint64_t* counts
    cdef size_t at, size
    if other.count == 0:
        return 0
    first = other.offset >> by
    last = last_after(other, by)
    if into.count:
        first = min(first, into.offset)
        last = max(last, into.offset + <int64_t>into.count - 1)
    size = <size_t>(last - first + 1)
    if into.count != size:
        counts = <uint64_t*>calloc(size, sizeof(uint64_t))
        if counts == NULL:
            raise MemoryError
        if into.count:
            memcpy(counts + (into.offset - first), into.counts, into.count * sizeof(uint64_t))
        free(into.counts)
        into.counts = counts
        into.count = size
        into.offset = first
    for at in range(other.count):
        into.counts[((other.offset + <int64_t>at) >> by) - first] += other.counts[at]
    return 0


cdef inline uint64_t absorb(Buckets* buckets, int64_t last) noexcept nogil:
    """Take the buckets up to `last` out; what they held."""
    cdef uint64_t taken = 0
    cdef size_t at, count = 0
    if buckets.count == 0 or last < buckets.offset:
        return 0
    count = <size_t>min(<int64_t>buckets.count, last - buckets.offset + 1)
    for at in range(count):
        taken += buckets.counts[at]
    memmove(buckets.counts, buckets.counts + count, (buckets.count - count) * sizeof(uint64_t))
    buckets.count -= count
    buckets.offset += count
    return taken


cdef inline bint holds(const Buckets* buckets, int64_t index) noexcept nogil:
    index -= buckets.offset
    return 0 <= index < <int64_t>buckets.count and buckets.counts[index] != 0


cdef inline double upper(int64_t index, int32_t scale) noexcept nogil:
    """The upper bound of bucket `index`: 2 ** ((index + 1) / 2**scale)."""
    cdef double power = <double>(index + 1) / ldexp(1.0, scale)
    cdef double whole = floor(power)
    if whole > 1023:
        return ldexp(1.0, 1023)
    return ldexp(2.0 ** (power - whole), <int>whole)


cdef inline int64_t bucket_of(double bound, int32_t scale) noexcept nogil:
    """The last bucket that begins below `bound`."""
    cdef int exponent = 0
    cdef double fraction = frexp(bound, &exponent)
    cdef double power = (log2(fraction) + exponent) * ldexp(1.0, scale)
    # A bound between two buckets must be found there, or the zero bucket would creep up with every addition.
    if fabs(power - rint(power)) < 1e-6:
        return <int64_t>rint(power) - 1
    return <int64_t>ceil(power) - 1


cdef inline bint beyond_doubles(const Buckets* buckets, int by) noexcept nogil:
    """2**-1075 to 2**1024 is all that a double can be; at the coarsest scale a bucket spans 16 powers of two."""
    return buckets.count and (buckets.offset >> by < -68 or last_after(buckets, by) > 64)


cdef inline bint representable(int32_t scale, const Buckets* positive, const Buckets* negative) noexcept nogil:
    """Whether a point alone fits a scale that Prometheus knows."""
    cdef int by = scale - COARSEST
    if by < 0 or beyond_doubles(positive, by) or beyond_doubles(negative, by):
        return False
    return spread(positive, by, positive, by) <= WIDEST and spread(negative, by, negative, by) <= WIDEST
