"""Delta to cumulative: a running total for each series, whose changes are made durable before they are sent."""

from libc.math cimport ceil, fabs, floor, frexp, ldexp, log2, rint
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from exporters.prometheus_remote_write.memory cimport copy
from exporters.wire.buffer cimport Buffer, put

cdef enum:
    SUM = 7
    HISTOGRAM = 9
    EXPONENTIAL = 10
    WIDEST = 512             # buckets a side, unless the points themselves have more
    COARSEST = -4            # the smallest scale that Prometheus knows
    HEAD = 1 + 1 + 4 + 8 * (8 + ENDS)


cdef void release(Total* total) noexcept:
    free(total.bounds)
    free(total.positive.counts)
    free(total.negative.counts)
    free(total)


cdef void trim(Buckets* buckets) noexcept nogil:
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


cdef void shrink(Buckets* buckets, int by) noexcept nogil:
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


cdef int64_t last_after(const Buckets* buckets, int by) noexcept nogil:
    return (buckets.offset + <int64_t>buckets.count - 1) >> by


cdef size_t spread(const Buckets* one, int one_by, const Buckets* other, int other_by) noexcept nogil:
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


cdef int merge(Buckets* into, const Buckets* other, int by) except -1:
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


cdef uint64_t absorb(Buckets* buckets, int64_t last) noexcept nogil:
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


cdef double upper(int64_t index, int32_t scale) noexcept nogil:
    """The upper bound of bucket `index`: 2 ** ((index + 1) / 2**scale)."""
    cdef double power = <double>(index + 1) / ldexp(1.0, scale)
    cdef double whole = floor(power)
    if whole > 1023:
        return ldexp(1.0, 1023)
    return ldexp(2.0 ** (power - whole), <int>whole)


cdef int64_t bucket_of(double bound, int32_t scale) noexcept nogil:
    """The last bucket that begins below `bound`."""
    cdef int exponent = 0
    cdef double fraction = frexp(bound, &exponent)
    cdef double power = (log2(fraction) + exponent) * ldexp(1.0, scale)
    # A bound between two buckets must be found there, or the zero bucket would creep up with every addition.
    if fabs(power - rint(power)) < 1e-6:
        return <int64_t>rint(power) - 1
    return <int64_t>ceil(power) - 1


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


cdef bint holds(const Buckets* buckets, int64_t index) noexcept nogil:
    index -= buckets.offset
    return 0 <= index < <int64_t>buckets.count and buckets.counts[index] != 0


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


cdef bint beyond_doubles(const Buckets* buckets, int by) noexcept nogil:
    """2**-1075 to 2**1024 is all that a double can be; at the coarsest scale a bucket spans 16 powers of two."""
    return buckets.count and (buckets.offset >> by < -68 or last_after(buckets, by) > 64)


cdef bint representable(int32_t scale, const Buckets* positive, const Buckets* negative) noexcept nogil:
    """Whether a point alone fits a scale that Prometheus knows."""
    cdef int by = scale - COARSEST
    if by < 0 or beyond_doubles(positive, by) or beyond_doubles(negative, by):
        return False
    return spread(positive, by, positive, by) <= WIDEST and spread(negative, by, negative, by) <= WIDEST


cdef class Accumulator:
    """Totals by the identity of their series, at most `most` of them; one that got nothing for `stale_ns` is forgotten
    when room is needed or at the next sweep.
    """

    def __cinit__(self, size_t most, uint64_t stale_ns):
        self.mask = 1023
        self.most = most
        self.stale = stale_ns
        self.expired = []
        self.slots = <Total**>calloc(self.mask + 1, sizeof(Total*))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef size_t at
        if self.slots != NULL:
            for at in range(self.mask + 1):
                if self.slots[at] != NULL:
                    release(self.slots[at])
        free(self.slots)
        free(self.changes)

    def load(self, bytes name, bytes row):
        """Take back what `take_changes` gave for one series. Raises `ValueError` for anything else."""
        cdef Total* total
        cdef const uint8_t* at = row
        cdef size_t size = len(row), wanted
        cdef uint64_t positives, negatives, bounds
        if len(name) != 16 or size < HEAD:
            raise ValueError("the state of a series is damaged")
        total = <Total*>calloc(1, sizeof(Total))
        if total == NULL:
            raise MemoryError
        memcpy(&total.lo, <const char*>name, 8)
        memcpy(&total.hi, <const char*>name + 8, 8)
        total.kind = at[0]
        total.has_sum = at[1]
        memcpy(&total.scale, at + 2, 4)
        memcpy(&total.start, at + 6, 8)
        memcpy(&total.seen, at + 14, 8)
        memcpy(&total.count, at + 22, 8)
        memcpy(&total.zero, at + 30, 8)
        at += 38
        memcpy(&total.sum, at, 8)
        memcpy(&total.threshold, at + 8, 8)
        memcpy(total.ends, at + 16, 8 * ENDS)
        at += 16 + 8 * ENDS
        memcpy(&positives, at, 8)
        memcpy(&negatives, at + 8, 8)
        at += 16
        wanted = size - HEAD
        bounds = positives - 1 if total.kind == HISTOGRAM and positives else 0
        if positives >= 1 << 28 or negatives >= 1 << 28 or wanted != 8 * (bounds + positives + negatives) + 16:
            free(total)
            raise ValueError("the state of a series is damaged")
        try:
            memcpy(&total.positive.offset, at, 8)
            memcpy(&total.negative.offset, at + 8, 8)
            at += 16
            if total.kind == HISTOGRAM and positives:
                total.bounds = <double*>malloc((bounds + 1) * 8)
                if total.bounds == NULL:
                    raise MemoryError
                copy(total.bounds, at, bounds * 8)
                total.bound_count = bounds
                at += bounds * 8
            take(&total.positive, positives, &at)
            take(&total.negative, negatives, &at)
            if self.found(total.lo, total.hi) != NULL:
                raise ValueError("the state of a series is there twice")
            self.insert(total)
        except BaseException:
            release(total)
            raise

    def take_changes(self):
        """([(name, row)] of the series that changed, [(name,)] of those that are forgotten), since the last time."""
        cdef list changed = []
        cdef size_t at
        for at in range(self.change_count):
            changed.append((name_of(self.changes[at]), row_of(self.changes[at])))
            self.changes[at].changed = False
        self.change_count = 0
        expired, self.expired = self.expired, []
        return changed, expired

    cdef Total* found(self, uint64_t lo, uint64_t hi) noexcept:
        cdef size_t slot = lo & self.mask
        while self.slots[slot] != NULL:
            if self.slots[slot].lo == lo and self.slots[slot].hi == hi:
                return self.slots[slot]
            slot = (slot + 1) & self.mask
        return NULL

    cdef Place place(
        self, uint64_t lo, uint64_t hi, uint8_t kind, uint64_t start, uint64_t end, uint64_t now, Total** found
    ) except *:
        """Where the interval that ends at `end` stands in its series, which is made if there is none."""
        cdef Total* total = self.found(lo, hi)
        cdef int at
        if now - self.swept > self.stale // 4 or self.swept == 0:
            self.sweep(now)
            total = self.found(lo, hi)
        if total == NULL:
            if self.count >= self.most:
                return FULL
            total = <Total*>calloc(1, sizeof(Total))
            if total == NULL:
                raise MemoryError
            total.lo = lo
            total.hi = hi
            total.kind = kind
            total.seen = now
            total.start = start if 0 < start < end else end
            try:
                self.insert(total)
            except BaseException:
                release(total)
                raise
        found[0] = total
        if end > total.ends[0]:
            return NEXT
        total.seen = now
        if end == total.ends[0]:
            self.duplicates += 1
            return AGAIN
        for at in range(1, ENDS):
            if end == total.ends[at]:
                break
            if end > total.ends[at]:
                return BEHIND
        self.duplicates += 1
        return KNOWN

    cdef int commit(self, Total* total, uint64_t start, uint64_t end, uint64_t now) except -1:
        """An interval was added. `start` is 0, or where the total begins anew."""
        cdef Total** moved
        memmove(&total.ends[1], &total.ends[0], 8 * (ENDS - 1))
        total.ends[0] = end
        total.seen = now
        if start:
            total.start = start
        if not total.changed:
            if self.change_count == self.change_room:
                moved = <Total**>realloc(self.changes, (self.change_room * 2 + 64) * sizeof(Total*))
                if moved == NULL:
                    raise MemoryError
                self.changes = moved
                self.change_room = self.change_room * 2 + 64
            self.changes[self.change_count] = total
            self.change_count += 1
            total.changed = True
        return 0

    cdef int insert(self, Total* total) except -1:
        cdef size_t slot
        if (self.count + 1) * 2 > self.mask:
            self.rebuild(self.mask * 2 + 1)
        slot = total.lo & self.mask
        while self.slots[slot] != NULL:
            slot = (slot + 1) & self.mask
        self.slots[slot] = total
        self.count += 1
        return 0

    cdef int rebuild(self, size_t mask) except -1:
        cdef Total** slots = <Total**>calloc(mask + 1, sizeof(Total*))
        cdef size_t at, slot
        if slots == NULL:
            raise MemoryError
        for at in range(self.mask + 1):
            if self.slots[at] != NULL:
                slot = self.slots[at].lo & mask
                while slots[slot] != NULL:
                    slot = (slot + 1) & mask
                slots[slot] = self.slots[at]
        free(self.slots)
        self.slots = slots
        self.mask = mask
        return 0

    cdef int sweep(self, uint64_t now) except -1:
        """Forget what is stale, but for what changed and isn't durable yet."""
        cdef size_t at, kept = self.count
        self.swept = now
        for at in range(self.mask + 1):
            if self.slots[at] != NULL and not self.slots[at].changed and self.slots[at].seen + self.stale < now:
                self.expired.append((name_of(self.slots[at]),))
                release(self.slots[at])
                self.slots[at] = NULL
                self.count -= 1
        return self.rebuild(self.mask) if kept != self.count else 0


cdef int take(Buckets* buckets, size_t count, const uint8_t** at) except -1:
    if count:
        buckets.counts = <uint64_t*>malloc(count * 8)
        if buckets.counts == NULL:
            raise MemoryError
        memcpy(buckets.counts, at[0], count * 8)
        at[0] += count * 8
    buckets.count = count
    return 0


cdef bytes name_of(Total* total):
    cdef uint64_t[2] name
    name[0] = total.lo
    name[1] = total.hi
    return (<const char*>name)[:16]


cdef bytes row_of(Total* total):
    """A total in the byte order of this machine: head, ends, sizes, offsets, bounds, counts."""
    cdef Buffer out
    cdef uint64_t size
    memset(&out, 0, sizeof(Buffer))
    try:
        put(&out, &total.kind, 1)
        put(&out, &total.has_sum, 1)
        put(&out, &total.scale, 4)
        put(&out, &total.start, 8)
        put(&out, &total.seen, 8)
        put(&out, &total.count, 8)
        put(&out, &total.zero, 8)
        put(&out, &total.sum, 8)
        put(&out, &total.threshold, 8)
        put(&out, total.ends, 8 * ENDS)
        size = total.positive.count
        put(&out, &size, 8)
        size = total.negative.count
        put(&out, &size, 8)
        put(&out, &total.positive.offset, 8)
        put(&out, &total.negative.offset, 8)
        put(&out, total.bounds, total.bound_count * 8)
        put(&out, total.positive.counts, total.positive.count * 8)
        put(&out, total.negative.counts, total.negative.count * 8)
        return (<const char*>out.data)[:out.used]
    finally:
        free(out.data)
