"""Aggregates and members as bytes over a restart, and whether what was read is what can have been written."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from processors.cardinality_limiter.aggregate cimport MOST_GENERATIONS, Aggregate
from processors.cardinality_limiter.buckets cimport MOST_BOUNDS, MOST_BUCKETS, Buckets, buckets_room
from processors.cardinality_limiter.members cimport Distribution, Member, member_distribution
from processors.cardinality_limiter.out cimport (
    In, Out, put, put_byte, put_bytes, put_real, put_u32, put_u64, take, take_byte, take_bytes, take_real, take_u32,
    take_u64,
)
from processors.cardinality_limiter.point cimport EXPONENTIAL, GAUGE, HISTOGRAM, SUM, SUMMARY

cdef int64_t FURTHEST = 0x200000000      # an index that 32 bits and what is added to them may come to

cdef int write_aggregate(Aggregate aggregate, Out *out) except -1:
    """All that the next life needs."""
    cdef Distribution *mine = &aggregate.distribution
    put_u64(out, aggregate.hash.hi)
    put_u64(out, aggregate.hash.lo)
    put_u32(out, aggregate.group)
    put_u32(out, aggregate.epoch)
    put_byte(out, aggregate.kind)
    put_byte(out, aggregate.temporality)
    put_byte(
        out,
        aggregate.monotonic | aggregate.reduced << 1 | aggregate.has_real << 2 | aggregate.has_any << 3
        | aggregate.sums << 4 | aggregate.extremes << 5,
    )
    put_bytes(out, <const char *>aggregate.attributes, len(aggregate.attributes))
    put_u64(out, aggregate.start)
    put_u64(out, aggregate.sent)
    put_u64(out, <uint64_t>aggregate.integer)
    for value in (aggregate.real, aggregate.lost, aggregate.min, aggregate.max, aggregate.zero_threshold):
        put_real(out, value)
    write_distribution(out, mine)
    write_buckets(out, &aggregate.bounds)
    former = aggregate.former_bounds or []
    put_u32(out, len(former))
    for bounds in former:
        put_bytes(out, <const char *><bytes>bounds, len(bounds))
    return 0


cdef bint is_sound_aggregate(Aggregate aggregate):
    """Whether what was read is what can have been written."""
    cdef Distribution *mine = &aggregate.distribution
    former = aggregate.former_bounds or []
    if aggregate.kind not in (GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY) or mine.generation != len(former):
        return False
    if any(len(each) % 8 or len(each) > 8 * MOST_BOUNDS for each in former) or aggregate.bounds.count > MOST_BOUNDS:
        return False
    if aggregate.kind == EXPONENTIAL:
        return mine.positive.count <= MOST_BUCKETS and mine.negative.count <= MOST_BUCKETS
    if mine.positive.offset or mine.negative.count:
        return False
    return aggregate.kind != HISTOGRAM or mine.positive.count in (0, aggregate.bounds.count + 1)


cdef bint may_be_member(Aggregate aggregate, const Member *member):
    """The same of a member."""
    cdef const Distribution *last
    if not member.has_distribution:
        return True
    last = member.value.distribution
    if aggregate.kind == EXPONENTIAL:
        return (
            last.scale >= aggregate.distribution.scale
            and last.positive.count <= MOST_BUCKETS and last.negative.count <= MOST_BUCKETS
        )
    if last.positive.offset or last.negative.count or last.generation > aggregate.distribution.generation:
        return False
    if aggregate.kind != HISTOGRAM:
        return last.positive.count == 0
    if last.generation == aggregate.distribution.generation:
        return last.positive.count == aggregate.bounds.count + 1
    return last.positive.count == len(aggregate.former_bounds[last.generation]) // 8 + 1


cdef int write_member(const Member *member, Out *out) except -1:
    put_u64(out, member.start)
    put_u64(out, member.time)
    put_byte(out, member.is_int | member.has_distribution << 1 | member.fresh << 2)
    if member.has_distribution:
        write_distribution(out, member.value.distribution)
    else:
        put_u64(out, <uint64_t>member.value.integer)
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
    """What `write_aggregate` wrote, or an aggregate that means nothing where `source` has failed."""
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
    if not is_sound_aggregate(made):
        source.failed = True
    return made


cdef int read_member(Aggregate aggregate, Member *made, In *source) except -1:
    """What `write_member` wrote, into a fresh member; `source` has failed where it can't be one of that aggregate."""
    cdef uint8_t flags
    cdef Distribution *distribution
    made.start = take_u64(source)
    made.time = take_u64(source)
    flags = take_byte(source)
    made.is_int = flags & 1
    made.fresh = flags >> 2 & 1
    if flags & 2 and aggregate.kind in (SUM, GAUGE):
        source.failed = True
    elif flags & 2:
        distribution = member_distribution(made)
        if distribution == NULL:
            raise MemoryError
        read_distribution(source, distribution)
    else:
        made.value.integer = <int64_t>take_u64(source)
    if not source.failed and not may_be_member(aggregate, made):
        source.failed = True
    return 0
