"""One series that re-aggregation makes out of many, and what it remembers of each cumulative one of them.

Its value is the sum over its members, over all of their lives, of what each life came to. A member counts whole from
its first point on, and from then by how much it grew. A life ends where the next one starts after it, or where a
value falls; what comes late, or twice, changes nothing. Deltas are added up for each metric that is read, gauges have
their newest value. A sum that isn't monotonic is the sum over its members' present values.
"""

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, fabs, isfinite
from libc.stdint cimport INT32_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from processors.cardinality_limiter.buckets cimport (
    MOST_BOUNDS, Buckets, buckets_add, buckets_copy, buckets_fell, buckets_free, buckets_push,
    buckets_reduce, buckets_room, buckets_trim, common_bounds, project, shift_to_fit,
)
from processors.cardinality_limiter.members cimport Distribution, Member, member_distribution
from processors.cardinality_limiter.point cimport DELTA, EXPONENTIAL, GAUGE, HISTOGRAM, SUM, Point

cdef extern from *:
    bint add_overflows "__builtin_add_overflow"(int64_t, int64_t, int64_t *) noexcept nogil
    bint sub_overflows "__builtin_sub_overflow"(int64_t, int64_t, int64_t *) noexcept nogil

cdef enum:
    DEEPEST_SHIFT = 40       # indexes have 32 bits


cdef inline int shift_between(int32_t higher, int32_t lower) noexcept nogil:
    cdef int64_t shift = <int64_t>higher - lower
    return DEEPEST_SHIFT if shift > DEEPEST_SHIFT else <int>shift


cdef class Aggregate:
    def __dealloc__(self):
        buckets_free(&self.distribution.positive)
        buckets_free(&self.distribution.negative)
        buckets_free(&self.bounds)

    cdef uint64_t size(self) noexcept:
        cdef uint64_t size = sizeof(Slice) * MOST_EXEMPLARS + 512 + len(self.attributes)
        size += 8 * (self.distribution.positive.room + self.distribution.negative.room + self.bounds.room)
        if self.former_bounds is not None:
            size += 8 * MOST_BOUNDS * len(self.former_bounds)
        return size

    cdef int begin(self) except -1:
        """The first point of a metric is about to be folded."""
        self.touched = True
        self.changed = False
        self.time = 0
        self.exemplar_count = 0
        if self.temporality == DELTA:
            self.start = 0
            self.integer = 0
            self.real = self.lost = 0
            self.has_any = self.has_real = False
            self.distribution.count = self.distribution.zero_count = 0
            self.distribution.sum = 0
            self.distribution.positive.count = self.distribution.negative.count = 0
            self.distribution.generation = 0
            self.bounds.count = 0
            self.former_bounds = None
            self.zero_threshold = 0
        return 0

    cdef int relation(self, Member *member, const Point *point) noexcept:
        """LATE, SAME or NEW; a value that falls is looked for elsewhere."""
        if point.start > member.start and point.start >= member.time and member.start:
            return NEW
        return LATE if point.time <= member.time else SAME

    cdef int fold(self, Member *member, Point *point) except -1:
        """Fold a point, which is sound; `member` is NULL for deltas and gauges. Whether it was news."""
        cdef int relation = NEW
        cdef bint first = not self.has_any
        if not self.touched:
            self.begin()
            first = not self.has_any
        if self.kind == GAUGE:
            if point.time <= self.time or (point.time <= self.sent and self.sent - point.time <= HOUR):
                if not first:
                    return 0
            self.has_real = not point.is_int
            self.integer, self.real, self.lost = point.integer, point.real, 0
            self.start = point.start
        else:
            if member != NULL and not member.fresh:
                relation = self.relation(member, point)
                if relation == LATE:
                    return 0
            if self.temporality == DELTA:
                if point.start and (self.start == 0 or point.start < self.start):
                    self.start = point.start
            elif first:
                self.start = point.start
            if self.kind == SUM:
                self.fold_number(member, point, relation)
            else:
                self.fold_distribution(member, point, relation)
            if member != NULL:
                if member.fresh or relation == NEW or member.start == 0 or 0 < point.start < member.start:
                    member.start = point.start
                member.time = point.time
                member.fresh = False
        if point.time > self.time:
            self.time = point.time
        self.has_any = self.changed = True
        return 1

    cdef int add_number(self, bint is_int, int64_t integer, double real) except -1:
        cdef double total
        if is_int:
            if not add_overflows(self.integer, integer, &self.integer):
                return 0
            # wrapped: back, and on as a double
            self.integer = <int64_t>(<uint64_t>self.integer - <uint64_t>integer)
            real = <double>integer
        self.has_real = True
        total = self.real + real
        if fabs(self.real) >= fabs(real):
            self.lost += (self.real - total) + real
        else:
            self.lost += (real - total) + self.real
        if not isfinite(total):
            total = DBL_MAX if total > 0 else -DBL_MAX
            self.lost = 0
        self.real = total
        return 0

    cdef int take_number(self, Member *member) except -1:
        if not member.is_int:
            return self.add_number(False, 0, -member.value.real)
        if sub_overflows(self.integer, member.value.integer, &self.integer):
            self.integer = <int64_t>(<uint64_t>self.integer + <uint64_t>member.value.integer)
            return self.add_number(False, 0, -<double>member.value.integer)
        return 0

    cdef int fold_number(self, Member *member, const Point *point, int relation) except -1:
        cdef bint fell
        if member == NULL:
            return self.add_number(point.is_int, point.integer, point.real)
        if member.is_int and point.is_int:
            fell = point.integer < member.value.integer
        else:
            fell = (
                (<double>point.integer if point.is_int else point.real)
                < (<double>member.value.integer if member.is_int else member.value.real)
            )
        self.add_number(point.is_int, point.integer, point.real)
        if not member.fresh and (not self.monotonic or (relation == SAME and not fell)):
            self.take_number(member)
        member.is_int = point.is_int
        if point.is_int:
            member.value.integer = point.integer
        else:
            member.value.real = point.real
        return 0

    cdef int forget(self, Member *member) except -1:
        """A member ended. What it came to stays, unless present values are summed up."""
        self.members -= 1
        if self.kind == SUM and not self.monotonic and not member.fresh:
            self.take_number(member)
        return 0

    # -- distributions

    cdef int fold_distribution(self, Member *member, Point *point, int relation) except -1:
        cdef Distribution *mine = &self.distribution
        cdef Distribution *last = NULL
        cdef int shift
        if member != NULL:
            if not member.has_distribution:
                relation = NEW
            last = member_distribution(member)
            if last == NULL:
                raise MemoryError
        if not self.has_any:
            self.sums = self.extremes = True
            self.min, self.max = INFINITY, -INFINITY
        if self.kind == HISTOGRAM:
            self.agree_on_bounds(point)
            if relation == SAME:
                self.bring_up(last)
        elif self.kind == EXPONENTIAL:
            self.agree_on_scale(point)
        if relation == SAME and self.fell(last, point):
            relation = NEW
        shift = shift_between(point.scale, mine.scale) if self.kind == EXPONENTIAL else 0
        if not (
            buckets_add(&mine.positive, &point.positive, shift, 1)
            and buckets_add(&mine.negative, &point.negative, shift, 1)
        ):
            raise MemoryError
        mine.count += point.count
        mine.zero_count += point.zero_count
        mine.sum += point.sum
        if relation == SAME and last != NULL:
            shift = shift_between(last.scale, mine.scale) if self.kind == EXPONENTIAL else 0
            if not (
                buckets_add(&mine.positive, &last.positive, shift, -1)
                and buckets_add(&mine.negative, &last.negative, shift, -1)
            ):
                raise MemoryError
            mine.count -= last.count
            mine.zero_count -= last.zero_count
            mine.sum -= last.sum
        if not isfinite(mine.sum):
            mine.sum = DBL_MAX if mine.sum > 0 else -DBL_MAX
        self.sums = self.sums and point.has_sum
        if not (point.has_min and point.has_max):
            self.extremes = self.extremes and point.count == 0
        else:
            self.min = point.min if point.min < self.min else self.min
            self.max = point.max if point.max > self.max else self.max
        if point.zero_threshold > self.zero_threshold:
            self.zero_threshold = point.zero_threshold
        if last != NULL:
            if not (
                buckets_copy(&last.positive, &point.positive) and buckets_copy(&last.negative, &point.negative)
            ):
                raise MemoryError
            last.count, last.zero_count, last.sum = point.count, point.zero_count, point.sum
            last.scale = point.scale
            last.generation = mine.generation
        return 0

    cdef bint fell(self, const Distribution *last, const Point *point) noexcept:
        """Whether a count is lower than it was, which ends a life."""
        cdef int32_t scale = point.scale if point.scale < last.scale else last.scale
        cdef int now = shift_between(point.scale, scale), before = shift_between(last.scale, scale)
        return (
            point.count < last.count or point.zero_count < last.zero_count
            or buckets_fell(&point.positive, now, &last.positive, before)
            or buckets_fell(&point.negative, now, &last.negative, before)
        )

    cdef int agree_on_bounds(self, Point *point) except -1:
        """Bring the buckets of a point and those of the aggregate to the bounds that both have."""
        cdef double *bounds = <double *>point.bounds.counts
        cdef double *mine
        cdef uint32_t count = point.bounds.count, common, i
        cdef Buckets projected
        cdef bint sound = count <= MOST_BOUNDS and point.positive.count == count + 1
        if sound:
            for i in range(count):
                # not (a < b), so that NaN is no bound
                if not isfinite(bounds[i]) or (i and not bounds[i - 1] < bounds[i]):
                    sound = False
        if not sound:                # without buckets, or with such as can't be: the count alone
            point.bounds.count = point.positive.count = count = 0
            if not buckets_push(&point.positive, point.count):
                raise MemoryError
            bounds = <double *>point.bounds.counts
        if self.distribution.positive.count == 0:
            if not (buckets_copy(&self.bounds, &point.bounds) and buckets_room(&self.distribution.positive, count + 1)):
                raise MemoryError
            memset(self.distribution.positive.counts, 0, (count + 1) * sizeof(uint64_t))
            self.distribution.positive.count = count + 1
            self.distribution.positive.offset = 0
            return 0
        mine = <double *>self.bounds.counts
        if count == self.bounds.count and (count == 0 or same_bounds(bounds, mine, count)):
            return 0
        if not buckets_room(&point.negative, MOST_BOUNDS + 1):
            raise MemoryError
        common = common_bounds(mine, self.bounds.count, bounds, count, <double *>point.negative.counts)
        if common < self.bounds.count:
            if self.distribution.generation + 1 >= MOST_GENERATIONS:
                common = 0
            self.narrow_to(<double *>point.negative.counts, common)
        if not buckets_room(&point.negative, common + 1):
            raise MemoryError
        project(bounds, count, point.positive.counts, <double *>self.bounds.counts, common, point.negative.counts)
        projected = point.positive           # what was projected changes places with what it was made of
        point.positive = point.negative
        point.positive.count = common + 1
        point.positive.offset = 0
        point.negative = projected
        point.negative.count = 0
        return 0

    cdef int narrow_to(self, const double *bounds, uint32_t count) except -1:
        """Fewer bounds from now on. Members are brought up when they come."""
        cdef Buckets *positive = &self.distribution.positive
        cdef uint64_t[MOST_BOUNDS + 1] projected
        if self.temporality != DELTA:        # what says nothing of it has members, too
            if self.former_bounds is None:
                self.former_bounds = []
            self.former_bounds.append((<uint8_t *>self.bounds.counts)[:8 * self.bounds.count])
            self.distribution.generation += 1
        project(<double *>self.bounds.counts, self.bounds.count, positive.counts, bounds, count, projected)
        memcpy(positive.counts, projected, (count + 1) * sizeof(uint64_t))
        positive.count = count + 1
        if count:
            memcpy(self.bounds.counts, bounds, count * sizeof(double))
        self.bounds.count = count
        return 0

    cdef int bring_up(self, Distribution *last) except -1:
        """Buckets of a member's last point, over the bounds of now."""
        cdef bytes former
        cdef uint64_t[MOST_BOUNDS + 1] projected
        if last.generation == self.distribution.generation:
            return 0
        former = self.former_bounds[last.generation]
        project(
            <const double *><const char *>former, len(former) // 8, last.positive.counts,
            <double *>self.bounds.counts, self.bounds.count, projected,
        )
        memcpy(last.positive.counts, projected, (self.bounds.count + 1) * sizeof(uint64_t))
        last.positive.count = self.bounds.count + 1
        last.generation = self.distribution.generation
        return 0

    cdef int agree_on_scale(self, Point *point) except -1:
        """Reduce the scale of the aggregate so that both fit into its buckets, and the point's so that it does."""
        cdef Distribution *mine = &self.distribution
        cdef Buckets none
        cdef int more, other, from_mine, from_point
        cdef int64_t target
        memset(&none, 0, sizeof(Buckets))
        buckets_trim(&point.positive)
        buckets_trim(&point.negative)
        more = shift_to_fit(&point.positive, 0, &none, 0)
        other = shift_to_fit(&point.negative, 0, &none, 0)
        more = other if other > more else more
        buckets_reduce(&point.positive, more)
        buckets_reduce(&point.negative, more)
        target = <int64_t>point.scale - more
        point.scale = <int32_t>target if target > INT32_MIN // 2 else INT32_MIN // 2
        if mine.positive.count == 0 and mine.negative.count == 0 and not self.has_any:
            mine.scale = point.scale
            return 0
        target = mine.scale if mine.scale < point.scale else point.scale
        from_mine = shift_between(mine.scale, <int32_t>target)
        from_point = shift_between(point.scale, <int32_t>target)
        more = shift_to_fit(&mine.positive, from_mine, &point.positive, from_point)
        other = shift_to_fit(&mine.negative, from_mine, &point.negative, from_point)
        more = other if other > more else more
        buckets_reduce(&mine.positive, from_mine + more)
        buckets_reduce(&mine.negative, from_mine + more)
        mine.scale = <int32_t>(target - more)
        return 0


cdef bint same_bounds(const double *one, const double *other, uint32_t count) noexcept:
    cdef uint32_t i
    for i in range(count):
        if one[i] != other[i]:
            return False
    return True
