"""The point that stands for an aggregate's members, as OTLP writes it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from processors.cardinality_limiter.aggregate cimport HOUR, Aggregate
from processors.cardinality_limiter.buckets cimport Buckets
from processors.cardinality_limiter.out cimport Out, put, put_byte, put_real, put_u64, put_varint, put_zigzag
from processors.cardinality_limiter.point cimport DELTA, EXPONENTIAL, GAUGE, HISTOGRAM, SUM

cdef enum:
    MILLISECOND = 1000000


cdef int encode_point(Aggregate aggregate, Out *out) except -1:
    """Its `data_points` field in the metric that was read, if there was news: 1, else 0."""
    cdef Out body
    cdef uint64_t time = aggregate.time
    cdef uint32_t i
    aggregate.touched = False
    if not aggregate.changed:
        return 0
    if aggregate.temporality != DELTA:
        # No two points of a series have one time, though their members' points may.
        if time <= aggregate.sent and aggregate.sent - time <= HOUR:
            time = aggregate.sent + MILLISECOND
        aggregate.sent = time
    memset(&body, 0, sizeof(Out))
    if aggregate.start:
        put_byte(&body, 0x11)
        put_u64(&body, aggregate.start)
    put_byte(&body, 0x19)
    put_u64(&body, time)
    if aggregate.kind == SUM or aggregate.kind == GAUGE:
        if aggregate.has_real:
            put_byte(&body, 0x21)
            if aggregate.kind == SUM:
                put_real(&body, aggregate.real + aggregate.lost + <double>aggregate.integer)
            else:
                put_real(&body, aggregate.real)
        else:
            put_byte(&body, 0x31)
            put_u64(&body, <uint64_t>aggregate.integer)
    else:
        put_byte(&body, 0x21)
        put_u64(&body, aggregate.distribution.count)
        if aggregate.sums:
            put_byte(&body, 0x29)
            put_real(&body, aggregate.distribution.sum)
        if aggregate.kind == HISTOGRAM:
            encode_buckets(aggregate, &body)
        elif aggregate.kind == EXPONENTIAL:
            encode_exponential(aggregate, &body)
    put(&body, <const char *>aggregate.attributes, len(aggregate.attributes))
    for i in range(aggregate.exemplar_count):
        put(&body, aggregate.exemplars[i].at, aggregate.exemplars[i].size)
    put_byte(out, 0x0A)
    put_varint(out, body.used)
    put(out, body.at, body.used)
    out.failed = out.failed or body.failed
    free(body.at)
    if out.failed:
        raise MemoryError
    return 1


cdef int encode_buckets(Aggregate aggregate, Out *out) except -1:
    if aggregate.bounds.count:
        put_byte(out, 0x32)
        put_varint(out, 8 * (aggregate.bounds.count + 1))
        put(out, aggregate.distribution.positive.counts, 8 * (aggregate.bounds.count + 1))
        put_byte(out, 0x3A)
        put_varint(out, 8 * aggregate.bounds.count)
        put(out, aggregate.bounds.counts, 8 * aggregate.bounds.count)
    if aggregate.extremes and aggregate.min <= aggregate.max:
        put_byte(out, 0x59)
        put_real(out, aggregate.min)
        put_byte(out, 0x61)
        put_real(out, aggregate.max)
    return 0


cdef int encode_exponential(Aggregate aggregate, Out *out) except -1:
    put_byte(out, 0x30)
    put_zigzag(out, aggregate.distribution.scale)
    put_byte(out, 0x39)
    put_u64(out, aggregate.distribution.zero_count)
    encode_side(out, 0x42, &aggregate.distribution.positive)
    encode_side(out, 0x4A, &aggregate.distribution.negative)
    if aggregate.extremes and aggregate.min <= aggregate.max:
        put_byte(out, 0x61)
        put_real(out, aggregate.min)
        put_byte(out, 0x69)
        put_real(out, aggregate.max)
    if aggregate.zero_threshold:
        put_byte(out, 0x71)
        put_real(out, aggregate.zero_threshold)
    return 0


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
