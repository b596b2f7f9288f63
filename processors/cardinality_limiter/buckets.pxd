"""Buckets of histograms as dense counts, and how those of two histograms are brought together."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef enum:
    MOST_BUCKETS = 320       # of one side of an exponential histogram, after its scale was reduced
    MOST_BOUNDS = 512        # of an explicit histogram that keeps them
    MOST_READ = 65536        # of one that is read

cdef struct Buckets:
    uint64_t *counts
    uint32_t count
    uint32_t room
    int64_t offset           # index of the first


cdef inline bint buckets_room(Buckets *buckets, uint32_t room) noexcept nogil:
    cdef uint64_t *grown
    if room <= buckets.room:
        return True
    grown = <uint64_t *>realloc(buckets.counts, room * sizeof(uint64_t))
    if grown == NULL:
        return False
    buckets.counts = grown
    buckets.room = room
    return True


cdef inline void buckets_free(Buckets *buckets) noexcept nogil:
    free(buckets.counts)
    memset(buckets, 0, sizeof(Buckets))


cdef inline bint buckets_push(Buckets *buckets, uint64_t count) noexcept nogil:
    if buckets.count == buckets.room and not buckets_room(buckets, buckets.room * 2 + 16):
        return False
    buckets.counts[buckets.count] = count
    buckets.count += 1
    return True


cdef inline bint buckets_copy(Buckets *into, const Buckets *other) noexcept nogil:
    """As small as may be: members are many."""
    if not buckets_room(into, other.count):
        return False
    if other.count:
        memcpy(into.counts, other.counts, other.count * sizeof(uint64_t))
    into.count = other.count
    into.offset = other.offset
    return True


cdef inline void buckets_trim(Buckets *buckets) noexcept nogil:
    """Without empty buckets at the ends."""
    cdef uint32_t first = 0, i
    while buckets.count and buckets.counts[buckets.count - 1] == 0:
        buckets.count -= 1
    while first < buckets.count and buckets.counts[first] == 0:
        first += 1
    if first:
        for i in range(first, buckets.count):
            buckets.counts[i - first] = buckets.counts[i]
        buckets.count -= first
        buckets.offset += first
    if buckets.count == 0:
        buckets.offset = 0


cdef inline void buckets_reduce(Buckets *buckets, int shift) noexcept nogil:
    """To a scale that is lower by `shift`: 2^shift neighbours become one."""
    cdef uint32_t i, at, last = 0
    cdef int64_t index, first = buckets.offset >> shift
    if shift == 0 or buckets.count == 0:
        return
    for i in range(buckets.count):
        index = (buckets.offset + i) >> shift
        at = <uint32_t>(index - first)
        if i == 0 or at > last:
            buckets.counts[at] = buckets.counts[i]
            last = at
        else:
            buckets.counts[at] += buckets.counts[i]
    buckets.count = last + 1
    buckets.offset = first


cdef inline int shift_to_fit(const Buckets *one, int shift_one, const Buckets *other, int shift_other) noexcept nogil:
    """By how much more both must be reduced for their union to have at most MOST_BUCKETS."""
    cdef int64_t first, last, low, high
    cdef int more = 0
    if one.count == 0 and other.count == 0:
        return 0
    if one.count:
        first = one.offset >> shift_one
        last = (one.offset + one.count - 1) >> shift_one
    else:
        first = other.offset >> shift_other
        last = (other.offset + other.count - 1) >> shift_other
    if other.count:
        low = other.offset >> shift_other
        high = (other.offset + other.count - 1) >> shift_other
        first = low if low < first else first
        last = high if high > last else last
    while last - first >= MOST_BUCKETS:
        first >>= 1
        last >>= 1
        more += 1
    return more


cdef inline bint buckets_add(Buckets *into, const Buckets *other, int shift, int sign) noexcept nogil:
    """Add what `other` holds, reduced by `shift`, or take it away. The union fits. False when memory is out."""
    cdef int64_t first, last, begin, end, index
    cdef uint32_t i, before, count
    if other.count == 0:
        return True
    first = other.offset >> shift
    last = (other.offset + other.count - 1) >> shift
    begin = into.offset if into.count else first
    end = into.offset + into.count - 1 if into.count else first - 1
    first = first if first < begin else begin
    last = last if last > end else end
    count = <uint32_t>(last - first + 1)
    if not buckets_room(into, count):
        return False
    before = <uint32_t>(begin - first)
    if before and into.count:
        for i in range(into.count, 0, -1):
            into.counts[i - 1 + before] = into.counts[i - 1]
    if before:
        memset(into.counts, 0, before * sizeof(uint64_t))
    if before + into.count < count:
        memset(into.counts + before + into.count, 0, (count - before - into.count) * sizeof(uint64_t))
    into.offset = first
    into.count = count
    for i in range(other.count):
        index = ((other.offset + i) >> shift) - first
        if sign > 0:
            into.counts[index] += other.counts[i]
        else:
            into.counts[index] -= other.counts[i]
    return True


cdef inline bint buckets_fell(
    const Buckets *now, int shift_now, const Buckets *last, int shift_last
) noexcept nogil:
    """Whether a bucket holds less than it did, at the scale that the shifts give."""
    cdef uint32_t i = 0, j = 0
    cdef int64_t index, at
    cdef uint64_t before, after
    while i < last.count:
        index = (last.offset + i) >> shift_last
        before = 0
        while i < last.count and (last.offset + i) >> shift_last == index:
            before += last.counts[i]
            i += 1
        after = 0
        while j < now.count:
            at = (now.offset + j) >> shift_now
            if at > index:
                break
            if at == index:
                after += now.counts[j]
            j += 1
        if after < before:
            return True
    return False


cdef inline void project(
    const double *bounds, uint32_t count, const uint64_t *counts, const double *onto, uint32_t onto_count, uint64_t *out
) noexcept nogil:
    """Counts of `count` + 1 buckets over `onto_count` + 1 whose bounds are among theirs."""
    cdef uint32_t i, at = 0
    memset(out, 0, (onto_count + 1) * sizeof(uint64_t))
    for i in range(count + 1):
        # bucket i ends at bounds[i]: it lies in the first of `onto` that ends there or later
        if i < count:
            while at < onto_count and onto[at] < bounds[i]:
                at += 1
        else:
            at = onto_count
        out[at] += counts[i]


cdef inline uint32_t common_bounds(
    const double *one, uint32_t one_count, const double *other, uint32_t other_count, double *out
) noexcept nogil:
    """The bounds that both have; `out` may be `one`. Returns how many."""
    cdef uint32_t i = 0, j = 0, found = 0
    while i < one_count and j < other_count:
        if one[i] == other[j]:
            out[found] = one[i]
            found += 1
            i += 1
            j += 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    return found
