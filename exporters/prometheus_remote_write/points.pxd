"""Data points of every kind, read off the wire. Fields of the wrong wire type are unknown fields, as in protobuf."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from exporters.prometheus_remote_write.buckets cimport Buckets
from exporters.prometheus_remote_write.request cimport malformed, next_field
from exporters.wire.fields cimport BYTES, FIXED64, VARINT, Field, read_varint
from exporters.wire.numbers cimport load64, load_double, unzigzag

cdef enum:
    GAUGE = 5
    SUM = 7
    HISTOGRAM = 9
    EXPONENTIAL = 10
    SUMMARY = 11
    NO_RECORDED_VALUE = 1    # flag


cdef struct Span:
    const uint8_t* begin
    const uint8_t* end


cdef struct Spans:
    Span* items              # freed by the owner
    size_t count, room


cdef struct Numbers:
    uint64_t* items          # freed by the owner; doubles by their bits
    size_t count, room


cdef struct Point:
    Spans attributes, exemplars, quantiles
    Numbers bounds, counts, negatives
    int64_t positive_offset, negative_offset
    uint64_t start, time, count, zero
    double value, sum, threshold
    int64_t scale
    uint32_t flags
    bint has_sum


cdef inline int add_span(Spans* spans, const uint8_t* begin, const uint8_t* end) except -1:
    cdef Span* moved
    if spans.count == spans.room:
        moved = <Span*>realloc(spans.items, (spans.room * 2 + 16) * sizeof(Span))
        if moved == NULL:
            raise MemoryError
        spans.items = moved
        spans.room = spans.room * 2 + 16
    spans.items[spans.count].begin = begin
    spans.items[spans.count].end = end
    spans.count += 1
    return 0


cdef inline int room_for(Numbers* numbers, size_t more) except -1:
    cdef uint64_t* moved
    cdef size_t room
    if numbers.room - numbers.count < more:
        room = numbers.room * 2 + more + 32
        moved = <uint64_t*>realloc(numbers.items, room * 8)
        if moved == NULL:
            raise MemoryError
        numbers.items = moved
        numbers.room = room
    return 0


cdef inline int add_fixed(Numbers* numbers, Field* field) except -1:
    """A repeated 64-bit field, packed or not."""
    cdef const uint8_t* at = field.body
    if field.wire == BYTES and (field.after - at) % 8:
        raise malformed()
    room_for(numbers, (field.after - at) // 8)
    while at < field.after:
        numbers.items[numbers.count] = load64(at)
        numbers.count += 1
        at += 8
    return 0


cdef inline int add_varints(Numbers* numbers, Field* field) except -1:
    """A repeated `uint64`, packed or not."""
    cdef const uint8_t* at = field.body
    room_for(numbers, field.after - at)
    while at < field.after:
        at = read_varint(at, field.after, numbers.items + numbers.count)
        if at == NULL:
            raise malformed()
        numbers.count += 1
    return 0


cdef inline int read_buckets(Field* field, Numbers* counts, int64_t* offset) except -1:
    cdef Field inner
    cdef const uint8_t* at = field.body
    while at < field.after:
        next_field(at, field.after, &inner)
        at = inner.after
        if inner.number == 1 and inner.wire == VARINT:
            # sint32: protobuf keeps the lower 32 bits
            offset[0] = unzigzag(inner.value & <uint64_t>0xffffffff)
        elif inner.number == 2 and (inner.wire == BYTES or inner.wire == VARINT):
            add_varints(counts, &inner)
    return 0


cdef inline void clear(Point* point) noexcept:
    point.attributes.count = point.exemplars.count = point.quantiles.count = 0
    point.bounds.count = point.counts.count = point.negatives.count = 0
    point.positive_offset = point.negative_offset = point.scale = 0
    point.start = point.time = point.count = point.zero = 0
    point.value = point.sum = point.threshold = 0
    point.flags = 0
    point.has_sum = False


cdef inline int read_point(uint32_t kind, const uint8_t* at, const uint8_t* end, Point* point) except -1:
    """Read the point of a metric of `kind`. A NumberDataPoint without a value has 0, as in protobuf's accessors."""
    cdef Field field
    cdef uint32_t number
    cdef uint32_t attributes = 9 if kind == HISTOGRAM else (1 if kind == EXPONENTIAL else 7)
    cdef uint32_t flags = 10 if kind == HISTOGRAM or kind == EXPONENTIAL else 8
    cdef uint32_t exemplars = 5 if kind <= SUM else (8 if kind == HISTOGRAM else (11 if kind == EXPONENTIAL else 0))
    clear(point)
    while at < end:
        next_field(at, end, &field)
        at = field.after
        number = field.number
        if field.wire == BYTES:
            if number == attributes:
                add_span(&point.attributes, field.body, field.after)
            elif number == exemplars:
                add_span(&point.exemplars, field.body, field.after)
            elif kind == HISTOGRAM:
                if number == 6:
                    add_fixed(&point.counts, &field)
                elif number == 7:
                    add_fixed(&point.bounds, &field)
            elif kind == EXPONENTIAL:
                if number == 8:
                    read_buckets(&field, &point.counts, &point.positive_offset)
                elif number == 9:
                    read_buckets(&field, &point.negatives, &point.negative_offset)
            elif kind == SUMMARY and number == 6:
                add_span(&point.quantiles, field.body, field.after)
        elif field.wire == FIXED64:
            if number == 2:
                point.start = load64(field.body)
            elif number == 3:
                point.time = load64(field.body)
            elif kind <= SUM:
                if number == 4:
                    point.value = load_double(field.body)
                elif number == 6:
                    point.value = <double><int64_t>load64(field.body)
            elif number == 4:
                point.count = load64(field.body)
            elif number == 5:
                point.sum = load_double(field.body)
                point.has_sum = True
            elif kind == HISTOGRAM and number == 6:
                add_fixed(&point.counts, &field)
            elif kind == HISTOGRAM and number == 7:
                add_fixed(&point.bounds, &field)
            elif kind == EXPONENTIAL and number == 7:
                point.zero = load64(field.body)
            elif kind == EXPONENTIAL and number == 14:
                point.threshold = load_double(field.body)
        elif field.wire == VARINT:
            if number == flags:
                point.flags = <uint32_t>field.value
            elif kind == EXPONENTIAL and number == 6:
                point.scale = unzigzag(field.value & <uint64_t>0xffffffff)
    if kind == SUMMARY:
        point.has_sum = True
    return 0


cdef inline int fill(Numbers* numbers, const uint64_t* items, size_t count) except -1:
    """Copy `count` numbers into an array of our own."""
    cdef uint64_t* moved
    if numbers.room < count + 1:
        moved = <uint64_t*>realloc(numbers.items, (count + 1) * 2 * 8)
        if moved == NULL:
            raise MemoryError
        numbers.items = moved
        numbers.room = (count + 1) * 2
    if count:
        memcpy(numbers.items, items, count * 8)
    numbers.count = count
    return 0


cdef inline void buckets_of(Point* point, Buckets* positive, Buckets* negative) noexcept nogil:
    """The buckets of an exponential histogram; their counts stay the point's."""
    positive.offset, positive.counts, positive.count = point.positive_offset, point.counts.items, point.counts.count
    negative.offset, negative.counts, negative.count = (
        point.negative_offset, point.negatives.items, point.negatives.count
    )
