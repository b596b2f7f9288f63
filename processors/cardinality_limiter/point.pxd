"""One data point of any kind, read as far as re-aggregation needs it."""

from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from processors.cardinality_limiter.buckets cimport MOST_READ, Buckets, buckets_free, buckets_push
from processors.wire.fields cimport BYTES, FIXED64, VARINT, Field, read_field, read_varint

cdef enum:                   # field numbers of `Metric`: the kinds of points
    GAUGE = 5
    SUM = 7
    HISTOGRAM = 9
    EXPONENTIAL = 10
    SUMMARY = 11
    DELTA = 1                # AggregationTemporality
    CUMULATIVE = 2
    NO_RECORDED_VALUE = 1    # a flag

cdef struct Point:
    uint64_t start
    uint64_t time
    uint64_t flags
    bint has_value           # of a number
    bint is_int
    int64_t integer
    double real
    uint64_t count           # of a distribution
    bint has_sum
    double sum
    bint has_min
    double min
    bint has_max
    double max
    uint64_t zero_count
    double zero_threshold
    int32_t scale
    Buckets positive         # those of an explicit histogram, too
    Buckets negative
    Buckets bounds           # doubles, bit by bit


cdef inline void point_free(Point *point) noexcept nogil:
    buckets_free(&point.positive)
    buckets_free(&point.negative)
    buckets_free(&point.bounds)


cdef inline void point_clear(Point *point) noexcept nogil:
    cdef Buckets positive = point.positive, negative = point.negative, bounds = point.bounds
    memset(point, 0, sizeof(Point))
    positive.count = negative.count = bounds.count = 0
    positive.offset = negative.offset = bounds.offset = 0
    point.positive, point.negative, point.bounds = positive, negative, bounds


cdef inline uint64_t fixed64(const Field *field) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, field.body, 8)
    return value


cdef inline double real64(const Field *field) noexcept nogil:
    cdef double value
    memcpy(&value, field.body, 8)
    return value


cdef inline int32_t zigzag(uint64_t value) noexcept nogil:
    cdef uint32_t low = <uint32_t>value
    return <int32_t>((low >> 1) ^ (~(low & 1) + 1))


cdef inline int read_packed64(const Field *field, Buckets *into) noexcept nogil:
    """Repeated fixed64 or double, packed or not. -1 when malformed, -2 when memory is out."""
    cdef const uint8_t *at = field.body
    cdef uint64_t value
    if field.wire == FIXED64:
        value = fixed64(field)
        if into.count < MOST_READ and not buckets_push(into, value):
            return -2
        return 0
    if field.wire != BYTES:
        return 0
    if (field.after - at) & 7:
        return -1
    while at < field.after:
        memcpy(&value, at, 8)
        if into.count < MOST_READ and not buckets_push(into, value):
            return -2
        at += 8
    return 0


cdef inline int read_packed_varints(const Field *field, Buckets *into) noexcept nogil:
    cdef const uint8_t *at = field.body
    cdef uint64_t value = 0
    if field.wire == VARINT:
        if into.count < MOST_READ and not buckets_push(into, field.value):
            return -2
        return 0
    if field.wire != BYTES:
        return 0
    while at < field.after:
        at = read_varint(at, field.after, &value)
        if at == NULL:
            return -1
        if into.count < MOST_READ and not buckets_push(into, value):
            return -2
    return 0


cdef inline int read_side(const Field *message, Buckets *into) noexcept nogil:
    """`ExponentialHistogramDataPoint.Buckets`; of several occurrences the counts go on and the last offset wins."""
    cdef const uint8_t *at = message.body
    cdef Field field
    cdef int problem
    while at < message.after:
        if read_field(at, message.after, &field) < 0:
            return -1
        at = field.after
        if field.number == 1 and field.wire == VARINT:
            into.offset = zigzag(field.value)
        elif field.number == 2:
            problem = read_packed_varints(&field, into)
            if problem < 0:
                return problem
    return 0


cdef inline int read_number(Point *point, const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef Field field
    while at < end:
        if read_field(at, end, &field) < 0:
            return -1
        at = field.after
        if field.wire == FIXED64:
            if field.number == 2:
                point.start = fixed64(&field)
            elif field.number == 3:
                point.time = fixed64(&field)
            elif field.number == 4:
                point.has_value = True
                point.is_int = False
                point.real = real64(&field)
            elif field.number == 6:
                point.has_value = True
                point.is_int = True
                point.integer = <int64_t>fixed64(&field)
        elif field.number == 8 and field.wire == VARINT:
            point.flags = field.value
    return 0


cdef inline int read_histogram(Point *point, const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef Field field
    cdef int problem = 0
    while at < end:
        if read_field(at, end, &field) < 0:
            return -1
        at = field.after
        if field.number == 6:
            problem = read_packed64(&field, &point.positive)
        elif field.number == 7:
            problem = read_packed64(&field, &point.bounds)
        elif field.wire == FIXED64:
            if field.number == 2:
                point.start = fixed64(&field)
            elif field.number == 3:
                point.time = fixed64(&field)
            elif field.number == 4:
                point.count = fixed64(&field)
            elif field.number == 5:
                point.has_sum = True
                point.sum = real64(&field)
            elif field.number == 11:
                point.has_min = True
                point.min = real64(&field)
            elif field.number == 12:
                point.has_max = True
                point.max = real64(&field)
        elif field.number == 10 and field.wire == VARINT:
            point.flags = field.value
        if problem < 0:
            return problem
    return 0


cdef inline int read_exponential(Point *point, const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef Field field
    cdef int problem = 0
    while at < end:
        if read_field(at, end, &field) < 0:
            return -1
        at = field.after
        if field.wire == FIXED64:
            if field.number == 2:
                point.start = fixed64(&field)
            elif field.number == 3:
                point.time = fixed64(&field)
            elif field.number == 4:
                point.count = fixed64(&field)
            elif field.number == 5:
                point.has_sum = True
                point.sum = real64(&field)
            elif field.number == 7:
                point.zero_count = fixed64(&field)
            elif field.number == 12:
                point.has_min = True
                point.min = real64(&field)
            elif field.number == 13:
                point.has_max = True
                point.max = real64(&field)
            elif field.number == 14:
                point.zero_threshold = real64(&field)
        elif field.wire == VARINT:
            if field.number == 6:
                point.scale = zigzag(field.value)
            elif field.number == 10:
                point.flags = field.value
        elif field.wire == BYTES:
            if field.number == 8:
                problem = read_side(&field, &point.positive)
            elif field.number == 9:
                problem = read_side(&field, &point.negative)
        if problem < 0:
            return problem
    return 0


cdef inline int read_summary(Point *point, const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef Field field
    while at < end:
        if read_field(at, end, &field) < 0:
            return -1
        at = field.after
        if field.wire == FIXED64:
            if field.number == 2:
                point.start = fixed64(&field)
            elif field.number == 3:
                point.time = fixed64(&field)
            elif field.number == 4:
                point.count = fixed64(&field)
            elif field.number == 5:
                point.has_sum = True
                point.sum = real64(&field)
        elif field.number == 8 and field.wire == VARINT:
            point.flags = field.value
    point.has_sum = True         # a proto3 double: absent is 0
    return 0


cdef inline int read_point(Point *point, int kind, const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Returns 0, -1 when malformed, -2 when memory is out."""
    point_clear(point)
    if kind == GAUGE or kind == SUM:
        return read_number(point, at, end)
    if kind == HISTOGRAM:
        return read_histogram(point, at, end)
    if kind == EXPONENTIAL:
        return read_exponential(point, at, end)
    return read_summary(point, at, end)


cdef inline bint is_sound(const Point *point, int kind) noexcept nogil:
    """Whether there is a value that can be added to others."""
    if point.flags & NO_RECORDED_VALUE:
        return False
    if kind == GAUGE:
        return point.has_value
    if kind == SUM:
        return point.has_value and (point.is_int or isfinite(point.real))
    return not point.has_sum or isfinite(point.sum)
