"""A `Metric` on the wire: which of its data counts, and its data points one by one.

The data is a oneof of five messages. As protobuf merges them, one of another kind takes the place of those before it
and one of the same kind adds to them: what counts is the last run of one kind.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.schema cimport CORRUPT, SOUND
from collector.wire.varint cimport MAX_LEVELS, read_size, read_tag, read_varint, skip_value

cdef enum Kind:                 # the field's number in Metric
    GAUGE_KIND = 5
    SUM_KIND = 7
    HISTOGRAM_KIND = 9
    EXPONENTIAL_KIND = 10
    SUMMARY_KIND = 11

cdef struct Piece:
    const uint8_t* data
    uint64_t size

cdef struct Metric:
    Piece name
    Piece unit
    uint32_t kind               # 0: it has no data
    const uint8_t* run          # the first field of those that count
    const uint8_t* end

cdef struct Shape:              # tags of a data point's fields; 0 where it hasn't this one
    uint32_t attributes
    uint32_t exemplars
    uint32_t flags

cdef struct Points:             # a cursor over the points of a metric
    const uint8_t* p            # in the metric
    const uint8_t* end
    const uint8_t* inner        # in one of its data messages
    const uint8_t* inner_end
    uint32_t tag                # of these
    Piece body                  # of the point that was found last
    uint32_t temporality        # known when all points have been found, as is the next
    bint monotonic


cdef inline bint is_kind(uint32_t number) noexcept nogil:
    return number < 12 and (0xea0 >> number) & 1


cdef inline Shape shape_of(uint32_t kind) noexcept nogil:
    if kind == HISTOGRAM_KIND:
        return Shape(0x4a, 0x42, 0x50)
    if kind == EXPONENTIAL_KIND:
        return Shape(0x0a, 0x5a, 0x50)
    return Shape(0x3a, 0x2a if kind != SUMMARY_KIND else 0, 0x40)


cdef inline int read_metric(const uint8_t* p, const uint8_t* end, Metric* metric) noexcept nogil:
    cdef const uint8_t* start
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    metric.name = Piece(p, 0)
    metric.unit = Piece(p, 0)
    metric.kind = 0
    metric.run = metric.end = end
    while p < end:
        start = p
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 != 2:
            p = skip_value(p, end, tag, MAX_LEVELS - 3)
            if p == NULL:
                return CORRUPT
            continue
        p = read_size(p, end, &size)
        if p == NULL:
            return CORRUPT
        if tag == 0x0a:
            metric.name = Piece(p, size)
        elif tag == 0x1a:
            metric.unit = Piece(p, size)
        elif is_kind(tag >> 3) and tag >> 3 != metric.kind:
            metric.kind = tag >> 3
            metric.run = start
        p += size
    return SOUND


cdef inline Points points_of(const Metric* metric) noexcept nogil:
    cdef Points points
    points.p = points.inner = points.inner_end = metric.run
    points.end = metric.end
    points.tag = metric.kind << 3 | 2
    points.body = Piece(metric.run, 0)
    points.temporality = 0
    points.monotonic = False
    return points


cdef inline int next_point(Points* points) noexcept nogil:
    """1 when there is one, its body in `points.body`; 0 behind the last; -1 where the bytes are malformed."""
    cdef const uint8_t* p
    cdef uint32_t tag = 0
    cdef uint64_t value = 0
    while True:
        p = points.inner
        while p < points.inner_end:
            p = read_tag(p, points.inner_end, &tag)
            if p == NULL:
                return -1
            if tag == 0x0a:
                p = read_size(p, points.inner_end, &value)
                if p == NULL:
                    return -1
                points.body = Piece(p, value)
                points.inner = p + value
                return 1
            if tag == 0x10 or tag == 0x18:
                p = read_varint(p, points.inner_end, &value)
                if tag == 0x18:
                    points.monotonic = value != 0
                else:
                    points.temporality = <uint32_t>value
            else:
                p = skip_value(p, points.inner_end, tag, MAX_LEVELS - 4)
            if p == NULL:
                return -1
        p = points.p
        while True:
            if p >= points.end:
                points.p = points.inner = points.inner_end = points.end
                return 0
            p = read_tag(p, points.end, &tag)
            if p == NULL:
                return -1
            if tag == points.tag:
                break
            p = skip_value(p, points.end, tag, MAX_LEVELS - 3)
            if p == NULL:
                return -1
        p = read_size(p, points.end, &value)
        if p == NULL:
            return -1
        points.inner = p
        points.inner_end = points.p = p + value


cdef inline int count_points(const uint8_t* p, const uint8_t* end, uint64_t* found) noexcept nogil:
    """Adds up the points of a metric."""
    cdef Metric metric
    cdef Points points
    cdef int more
    if read_metric(p, end, &metric) != SOUND:
        return CORRUPT
    points = points_of(&metric)
    while True:
        more = next_point(&points)
        if more <= 0:
            return SOUND if more == 0 else CORRUPT
        found[0] += 1
