"""Whether the numbers of a data point fit together, and fit what Prometheus can hold."""

from libc.math cimport isinf, isnan
from libc.stdint cimport int32_t, uint32_t, uint64_t

from exporters.prometheus_remote_write.buckets cimport Buckets, representable, trim
from exporters.prometheus_remote_write.points cimport EXPONENTIAL, HISTOGRAM, SUM, Point, buckets_of
from exporters.prometheus_remote_write.reasons cimport (
    INVALID_DELTA,
    MALFORMED_HISTOGRAM,
    TAKEN,
    UNSUPPORTED_SCALE,
    Reason,
)
from exporters.wire.numbers cimport from_bits

cdef enum:
    FINEST_READ = 40         # scale; protobuf allows any


cdef inline Reason check_point(Point* point, uint32_t kind, bint delta) noexcept nogil:
    """TAKEN, or why the point is refused. Of a histogram that passes, empty buckets at the ends are left out."""
    if delta:
        if kind == SUM and (isnan(point.value) or isinf(point.value)):
            return INVALID_DELTA
        if point.has_sum and (isnan(point.sum) or isinf(point.sum)):
            return INVALID_DELTA
    if kind == HISTOGRAM:
        return check_explicit(point)
    if kind == EXPONENTIAL:
        return check_exponential(point)
    return TAKEN


cdef inline Reason check_explicit(Point* point) noexcept nogil:
    """Bounds ascend, and there is one bucket more than there are bounds, or none of either."""
    cdef size_t at
    if point.counts.count and point.counts.count != point.bounds.count + 1:
        return MALFORMED_HISTOGRAM
    if point.counts.count == 0:
        point.bounds.count = 0
    for at in range(point.bounds.count):
        if isnan(from_bits(point.bounds.items[at])) or (
            at and not from_bits(point.bounds.items[at - 1]) < from_bits(point.bounds.items[at])
        ):
            return MALFORMED_HISTOGRAM
    return TAKEN


cdef inline Reason check_exponential(Point* point) noexcept nogil:
    """The buckets sum up to the count, and a scale that Prometheus knows holds them."""
    cdef size_t at
    cdef uint64_t total = point.zero, huge = 0
    cdef Buckets positive, negative
    for at in range(point.counts.count):
        total += point.counts.items[at]
        huge |= point.counts.items[at]
    for at in range(point.negatives.count):
        total += point.negatives.items[at]
        huge |= point.negatives.items[at]
    if huge >> 56 or total != point.count or isnan(point.threshold) or point.threshold < 0:
        return MALFORMED_HISTOGRAM
    buckets_of(point, &positive, &negative)
    trim(&positive)
    trim(&negative)
    point.counts.count, point.positive_offset = positive.count, positive.offset
    point.negatives.count, point.negative_offset = negative.count, negative.offset
    if point.scale > FINEST_READ or not representable(<int32_t>point.scale, &positive, &negative):
        return UNSUPPORTED_SCALE
    return TAKEN
