"""Data points of deltas as data points of sums: each delta is added once, whatever comes again."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from exporters.prometheus_remote_write.accumulate cimport BEHIND, FULL, KNOWN, NEXT, Accumulator, Place
from exporters.prometheus_remote_write.buckets cimport Buckets
from exporters.prometheus_remote_write.points cimport HISTOGRAM, SUM, Point, buckets_of, fill
from exporters.prometheus_remote_write.reasons cimport LATE, STREAM_LIMIT, TAKEN, UNSUPPORTED_SCALE, Reason
from exporters.prometheus_remote_write.total cimport Total, add_explicit, add_exponential


cdef class DeltaToCumulative:
    """Adds deltas to the totals of an `Accumulator`."""

    def __init__(self, Accumulator totals):
        self.totals = totals

    cdef Total* replace(self, Point* point, uint32_t kind, uint64_t lo, uint64_t hi, Reason* reason) except? NULL:
        """The total of the series that `lo` and `hi` identify, which then stands in the place of its delta `point`.

        NULL where there is nothing to send: for `reason`, which is TAKEN for a copy of what was added before.
        """
        cdef Total* total = NULL
        cdef Place place
        if point.time > self.latest:
            self.latest = point.time
        place = self.totals.place(lo, hi, <uint8_t>kind, point.start, point.time, self.latest, &total)
        reason[0] = TAKEN
        if place == FULL:
            reason[0] = STREAM_LIMIT
        elif place == BEHIND:
            reason[0] = LATE
        elif place == NEXT:
            reason[0] = <Reason>self.add(total, point, kind)
        if reason[0] != TAKEN or place == KNOWN:
            return NULL
        put_total(point, total, kind)
        return total

    cdef int add(self, Total* total, Point* point, uint32_t kind) except -1:
        """Add the delta of the next interval. TAKEN, or why it is refused; nothing is changed then."""
        cdef Buckets positive, negative
        cdef uint64_t begin = 0
        cdef bint begun = total.ends[0] != 0
        if kind == SUM:
            total.sum += point.value
        elif kind == HISTOGRAM:
            if point.counts.count == 0:
                fill(&point.counts, &point.count, 1)
            if add_explicit(
                total, point.bounds.count, <double*>point.bounds.items, point.counts.items, point.count, point.sum,
                point.has_sum
            ) and begun:
                begin = point.start if 0 < point.start < point.time else point.time
        else:
            buckets_of(point, &positive, &negative)
            if add_exponential(
                total, <int32_t>point.scale, point.zero, point.threshold, &positive, &negative, point.count, point.sum,
                point.has_sum
            ):
                return UNSUPPORTED_SCALE
        self.totals.commit(total, begin, point.time, self.latest)
        return TAKEN


cdef int put_total(Point* point, const Total* total, uint32_t kind) except -1:
    """Give the point the numbers of the total, but for its time."""
    point.value = total.sum
    point.sum = total.sum
    point.has_sum = total.has_sum
    point.count = total.count
    point.zero = total.zero
    point.threshold = total.threshold
    point.scale = total.scale
    if kind == HISTOGRAM:
        fill(&point.bounds, <const uint64_t*>total.bounds, total.bound_count)
    fill(&point.counts, total.positive.counts, total.positive.count)
    fill(&point.negatives, total.negative.counts, total.negative.count)
    point.positive_offset = total.positive.offset
    point.negative_offset = total.negative.offset
    return 0
