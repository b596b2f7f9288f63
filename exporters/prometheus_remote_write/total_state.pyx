"""Totals as the bytes that outlive a restart: a name and a row for each, in the byte order of this machine."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from exporters.prometheus_remote_write.buckets cimport Buckets
from exporters.prometheus_remote_write.memory cimport copy
from exporters.prometheus_remote_write.points cimport HISTOGRAM
from exporters.prometheus_remote_write.total cimport ENDS, Total, release
from exporters.wire.buffer cimport Buffer, put

cdef enum:
    HEAD = 1 + 1 + 4 + 8 * (8 + ENDS)


cdef bytes name_of(const Total* total):
    cdef uint64_t[2] name
    name[0] = total.lo
    name[1] = total.hi
    return (<const char*>name)[:16]


cdef bytes row_of(Total* total):
    """Head, ends, sizes, offsets, bounds, counts."""
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


cdef Total* total_of(bytes name, bytes row) except NULL:
    """The total that `name_of` and `row_of` gave, owned by the caller. Raises `ValueError` for anything else."""
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
    except BaseException:
        release(total)
        raise
    return total


cdef int take(Buckets* buckets, size_t count, const uint8_t** at) except -1:
    if count:
        buckets.counts = <uint64_t*>malloc(count * 8)
        if buckets.counts == NULL:
            raise MemoryError
        memcpy(buckets.counts, at[0], count * 8)
        at[0] += count * 8
    buckets.count = count
    return 0
