"""One series that re-aggregation makes out of many, and what it remembers of each cumulative one of them.

Its value is the sum over its members, over all of their lives, of what each life came to. A member counts whole from
its first point on, and from then by how much it grew. A life ends where the next one starts after it, or where a
value falls; what comes late, or twice, changes nothing. Deltas are added up for each metric that is read, gauges have
their newest value. A sum that isn't monotonic is the sum over its members' present values.
"""

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, fabs, isfinite
from libc.stdint cimport INT32_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from processors.cardinality_limiter.buckets cimport (
    MOST_BOUNDS, MOST_BUCKETS, Buckets, buckets_add, buckets_copy, buckets_fell, buckets_free, buckets_push,
    buckets_reduce, buckets_room, buckets_trim, common_bounds, project, shift_to_fit,
)
from processors.cardinality_limiter.out cimport (
    In, Out, put, put_byte, put_bytes, put_real, put_u32, put_u64, put_varint, put_zigzag, take, take_byte, take_bytes,
    take_real, take_u32, take_u64,
)
from processors.cardinality_limiter.point cimport (
    CUMULATIVE, DELTA, EXPONENTIAL, GAUGE, HISTOGRAM, SUM, SUMMARY, Point,
)

cdef extern from *:
    bint add_overflows "__builtin_add_overflow"(int64_t, int64_t, int64_t *) noexcept nogil
    bint sub_overflows "__builtin_sub_overflow"(int64_t, int64_t, int64_t *) noexcept nogil

cdef enum:
    MILLISECOND = 1000000
    MOST_GENERATIONS = 8     # of bounds; one more, and none are kept
    DEEPEST_SHIFT = 40       # indexes have 32 bits

cdef int64_t FURTHEST = 0x200000000      # an index that 32 bits and what is added to them may come to
cdef uint64_t HOUR = 3600000000000


cdef class Member:
    def __dealloc__(self):
        if self.distribution != NULL:
            buckets_free(&self.distribution.positive)
            buckets_free(&self.distribution.negative)
            free(self.distribution)


cdef inline int shift_between(int32_t higher, int32_t lower) noexcept nogil:
    cdef int64_t shift = <int64_t>higher - lower
    return DEEPEST_SHIFT if shift > DEEPEST_SHIFT else <int>shift


cdef uint64_t member_size(Member member) noexcept:
    """Bytes of memory, about."""
    cdef uint64_t size = 104     # the object, its place in a list, what allocation costs
    if member.distribution != NULL:
        size += sizeof(Distribution) + 48 + 8 * (
            member.distribution.positive.room + member.distribution.negative.room
        )
    return size


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

    cdef int relation(self, Member member, const Point *point) noexcept:
        """LATE, SAME or NEW; a value that falls is looked for elsewhere."""
        if point.start > member.start and point.start >= member.time and member.start:
            return NEW
        return LATE if point.time <= member.time else SAME

    cdef int fold(self, Member member, Point *point) except -1:
        """Fold a point, which is sound; `member` is None for deltas and gauges. Whether it was news."""
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
            if member is not None and not member.fresh:
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
            if member is not None:
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

    cdef int take_number(self, Member member) except -1:
        if not member.is_int:
            return self.add_number(False, 0, -member.real)
        if sub_overflows(self.integer, member.integer, &self.integer):
            self.integer = <int64_t>(<uint64_t>self.integer + <uint64_t>member.integer)
            return self.add_number(False, 0, -<double>member.integer)
        return 0

    cdef int fold_number(self, Member member, const Point *point, int relation) except -1:
        cdef bint fell
        if member is None:
            return self.add_number(point.is_int, point.integer, point.real)
        if member.is_int and point.is_int:
            fell = point.integer < member.integer
        else:
            fell = (
                (<double>point.integer if point.is_int else point.real)
                < (<double>member.integer if member.is_int else member.real)
            )
        self.add_number(point.is_int, point.integer, point.real)
        if not member.fresh and (not self.monotonic or (relation == SAME and not fell)):
            self.take_number(member)
        member.is_int, member.integer, member.real = point.is_int, point.integer, point.real
        return 0

    cdef int forget(self, Member member) except -1:
        """A member ended. What it came to stays, unless present values are summed up."""
        self.members -= 1
        if self.kind == SUM and not self.monotonic and not member.fresh:
            self.take_number(member)
        return 0

    # -- distributions

    cdef int fold_distribution(self, Member member, Point *point, int relation) except -1:
        cdef Distribution *mine = &self.distribution
        cdef Distribution *last = NULL
        cdef int shift
        if member is not None:
            if member.distribution == NULL:
                member.distribution = <Distribution *>calloc(1, sizeof(Distribution))
                if member.distribution == NULL:
                    raise MemoryError
                relation = NEW
            last = member.distribution
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
        if self.temporality == CUMULATIVE:
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

    # -- the point that goes out

    cdef int encode(self, Out *out) except -1:
        """Its `data_points` field in the metric that was read, if there was news: 1, else 0."""
        cdef Out body
        cdef uint64_t time = self.time
        cdef uint32_t i
        self.touched = False
        if not self.changed:
            return 0
        if self.temporality != DELTA:
            # No two points of a series have one time, though their members' points may.
            if time <= self.sent and self.sent - time <= HOUR:
                time = self.sent + MILLISECOND
            self.sent = time
        memset(&body, 0, sizeof(Out))
        if self.start:
            put_byte(&body, 0x11)
            put_u64(&body, self.start)
        put_byte(&body, 0x19)
        put_u64(&body, time)
        if self.kind == SUM or self.kind == GAUGE:
            if self.has_real:
                put_byte(&body, 0x21)
                put_real(&body, self.real if self.kind == GAUGE else self.real + self.lost + <double>self.integer)
            else:
                put_byte(&body, 0x31)
                put_u64(&body, <uint64_t>self.integer)
        else:
            put_byte(&body, 0x21)
            put_u64(&body, self.distribution.count)
            if self.sums:
                put_byte(&body, 0x29)
                put_real(&body, self.distribution.sum)
            if self.kind == HISTOGRAM:
                self.encode_buckets(&body)
            elif self.kind == EXPONENTIAL:
                self.encode_exponential(&body)
        put(&body, <const char *>self.attributes, len(self.attributes))
        for i in range(self.exemplar_count):
            put(&body, self.exemplars[i].at, self.exemplars[i].size)
        put_byte(out, 0x0A)
        put_varint(out, body.used)
        put(out, body.at, body.used)
        out.failed = out.failed or body.failed
        free(body.at)
        if out.failed:
            raise MemoryError
        return 1

    cdef int encode_buckets(self, Out *out) except -1:
        if self.bounds.count:
            put_byte(out, 0x32)
            put_varint(out, 8 * (self.bounds.count + 1))
            put(out, self.distribution.positive.counts, 8 * (self.bounds.count + 1))
            put_byte(out, 0x3A)
            put_varint(out, 8 * self.bounds.count)
            put(out, self.bounds.counts, 8 * self.bounds.count)
        if self.extremes and self.min <= self.max:
            put_byte(out, 0x59)
            put_real(out, self.min)
            put_byte(out, 0x61)
            put_real(out, self.max)
        return 0

    cdef int encode_exponential(self, Out *out) except -1:
        put_byte(out, 0x30)
        put_zigzag(out, self.distribution.scale)
        put_byte(out, 0x39)
        put_u64(out, self.distribution.zero_count)
        encode_side(out, 0x42, &self.distribution.positive)
        encode_side(out, 0x4A, &self.distribution.negative)
        if self.extremes and self.min <= self.max:
            put_byte(out, 0x61)
            put_real(out, self.min)
            put_byte(out, 0x69)
            put_real(out, self.max)
        if self.zero_threshold:
            put_byte(out, 0x71)
            put_real(out, self.zero_threshold)
        return 0

    # -- over a restart

    cdef int write(self, Out *out) except -1:
        """All that the next life needs."""
        cdef Distribution *mine = &self.distribution
        put_u64(out, self.hash.hi)
        put_u64(out, self.hash.lo)
        put_u32(out, self.group)
        put_u32(out, self.epoch)
        put_byte(out, self.kind)
        put_byte(out, self.temporality)
        put_byte(
            out, self.monotonic | self.reduced << 1 | self.has_real << 2 | self.has_any << 3 | self.sums << 4
            | self.extremes << 5,
        )
        put_bytes(out, <const char *>self.attributes, len(self.attributes))
        put_u64(out, self.start)
        put_u64(out, self.sent)
        put_u64(out, <uint64_t>self.integer)
        for value in (self.real, self.lost, self.min, self.max, self.zero_threshold):
            put_real(out, value)
        write_distribution(out, mine)
        write_buckets(out, &self.bounds)
        former = self.former_bounds or []
        put_u32(out, len(former))
        for bounds in former:
            put_bytes(out, <const char *><bytes>bounds, len(bounds))
        return 0

    cdef bint is_sound(self):
        """Whether what was read is what can have been written."""
        cdef Distribution *mine = &self.distribution
        former = self.former_bounds or []
        if self.kind not in (GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY) or mine.generation != len(former):
            return False
        if any(len(each) % 8 or len(each) > 8 * MOST_BOUNDS for each in former) or self.bounds.count > MOST_BOUNDS:
            return False
        if self.kind == EXPONENTIAL:
            return mine.positive.count <= MOST_BUCKETS and mine.negative.count <= MOST_BUCKETS
        if mine.positive.offset or mine.negative.count:
            return False
        return self.kind != HISTOGRAM or mine.positive.count in (0, self.bounds.count + 1)

    cdef bint may_be_member(self, Member member):
        """The same of a member."""
        cdef Distribution *last = member.distribution
        if last == NULL:
            return True
        if self.kind == EXPONENTIAL:
            return (
                last.scale >= self.distribution.scale
                and last.positive.count <= MOST_BUCKETS and last.negative.count <= MOST_BUCKETS
            )
        if last.positive.offset or last.negative.count or last.generation > self.distribution.generation:
            return False
        if self.kind != HISTOGRAM:
            return last.positive.count == 0
        if last.generation == self.distribution.generation:
            return last.positive.count == self.bounds.count + 1
        return last.positive.count == len(self.former_bounds[last.generation]) // 8 + 1

    cdef int write_member(self, Member member, Out *out) except -1:
        put_u64(out, member.start)
        put_u64(out, member.time)
        put_byte(out, member.is_int)
        put_u64(out, <uint64_t>member.integer)
        put_real(out, member.real)
        put_byte(out, member.distribution != NULL)
        if member.distribution != NULL:
            write_distribution(out, member.distribution)
        return 0


cdef bint same_bounds(const double *one, const double *other, uint32_t count) noexcept:
    cdef uint32_t i
    for i in range(count):
        if one[i] != other[i]:
            return False
    return True


cdef int encode_side(Out *out, uint8_t tag, const Buckets *buckets) except -1:
    """`Buckets` of one side, without the empty ones at its ends."""
    cdef uint32_t first = 0, end = buckets.count, i
    cdef Out body, counts
    while end and buckets.counts[end - 1] == 0:
        end -= 1
    while first < end and buckets.counts[first] == 0:
        first += 1
    if first == end:
        return 0
    memset(&body, 0, sizeof(Out))
    memset(&counts, 0, sizeof(Out))
    for i in range(first, end):
        put_varint(&counts, buckets.counts[i])
    put_byte(&body, 0x08)
    put_zigzag(&body, buckets.offset + first)
    put_byte(&body, 0x12)
    put_varint(&body, counts.used)
    put(&body, counts.at, counts.used)
    put_byte(out, tag)
    put_varint(out, body.used)
    put(out, body.at, body.used)
    out.failed = out.failed or body.failed or counts.failed
    free(body.at)
    free(counts.at)
    return 0


cdef int write_buckets(Out *out, const Buckets *buckets) except -1:
    put_u64(out, <uint64_t>buckets.offset)
    put_u32(out, buckets.count)
    put(out, buckets.counts, 8 * buckets.count)
    return 0


cdef int read_buckets(In *source, Buckets *buckets) except -1:
    cdef uint32_t count
    buckets.offset = <int64_t>take_u64(source)
    count = take_u32(source)
    if source.failed or count > MOST_BOUNDS + 1 or not -FURTHEST <= buckets.offset <= FURTHEST:
        source.failed = True
        return 0
    if not buckets_room(buckets, count):
        raise MemoryError
    buckets.count = count if not count or take(source, buckets.counts, 8 * count) else 0
    return 0


cdef int write_distribution(Out *out, const Distribution *distribution) except -1:
    put_u64(out, distribution.count)
    put_u64(out, distribution.zero_count)
    put_real(out, distribution.sum)
    put_u32(out, <uint32_t>distribution.scale)
    put_u32(out, distribution.generation)
    write_buckets(out, &distribution.positive)
    write_buckets(out, &distribution.negative)
    return 0


cdef int read_distribution(In *source, Distribution *distribution) except -1:
    distribution.count = take_u64(source)
    distribution.zero_count = take_u64(source)
    distribution.sum = take_real(source)
    distribution.scale = <int32_t>take_u32(source)
    distribution.generation = take_u32(source)
    read_buckets(source, &distribution.positive)
    read_buckets(source, &distribution.negative)
    return 0


cdef Aggregate read_aggregate(In *source):
    """What `write` wrote, or an aggregate that means nothing where `source` has failed."""
    cdef Aggregate made = Aggregate()
    cdef uint8_t flags
    cdef uint32_t count
    made.hash.hi = take_u64(source)
    made.hash.lo = take_u64(source)
    made.group = take_u32(source)
    made.epoch = take_u32(source)
    made.kind = take_byte(source)
    made.temporality = take_byte(source)
    flags = take_byte(source)
    made.monotonic = flags & 1
    made.reduced = flags >> 1 & 1
    made.has_real = flags >> 2 & 1
    made.has_any = flags >> 3 & 1
    made.sums = flags >> 4 & 1
    made.extremes = flags >> 5 & 1
    made.attributes = take_bytes(source)
    made.start = take_u64(source)
    made.sent = take_u64(source)
    made.integer = <int64_t>take_u64(source)
    made.real = take_real(source)
    made.lost = take_real(source)
    made.min = take_real(source)
    made.max = take_real(source)
    made.zero_threshold = take_real(source)
    read_distribution(source, &made.distribution)
    read_buckets(source, &made.bounds)
    count = take_u32(source)
    for _ in range(min(count, <uint32_t>MOST_GENERATIONS)):
        if made.former_bounds is None:
            made.former_bounds = []
        made.former_bounds.append(take_bytes(source))
    if not made.is_sound():
        source.failed = True
    return made


cdef Member read_member(In *source):
    """What `write_member` wrote."""
    cdef Member made = Member()
    made.start = take_u64(source)
    made.time = take_u64(source)
    made.is_int = take_byte(source)
    made.integer = <int64_t>take_u64(source)
    made.real = take_real(source)
    if take_byte(source):
        made.distribution = <Distribution *>calloc(1, sizeof(Distribution))
        if made.distribution == NULL:
            raise MemoryError
        read_distribution(source, made.distribution)
    return made
