"""The hashes of a `PointIndex`: of each point's attributes, and of the series that it belongs to.

Attributes are hashed in protobuf's canonical encoding and their hashes added up, so that neither their order nor the
way they were written matters. A series' hash goes over those sums and the hashes of its names.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from collector.wire.buffer cimport Buffer
from collector.wire.canonical cimport hash_key_value
from collector.wire.columns cimport Columns, Rows
from collector.wire.malformed cimport raise_fault
from collector.wire.metric cimport Metric, Points, next_point, points_of, read_metric, shape_of
from collector.wire.murmur3 cimport murmur3_64
from collector.wire.schema cimport CORRUPT, SOUND
from collector.wire.series cimport ATTRIBUTES, HASHES, SERIES
from collector.wire.varint cimport MAX_LEVELS, read_size, read_tag, skip_value
from collector.wire.walk cimport Walk, visit_request

cdef enum:                      # what identifies a metric
    RESOURCE_ATTRIBUTES
    SCOPE_NAME
    SCOPE_VERSION
    SCOPE_ATTRIBUTES
    METRIC_NAME
    METRIC_UNIT
    METRIC_KIND
    PARTS

cdef struct SeriesWalk:
    Walk walk
    uint64_t[PARTS] parts
    uint64_t* attributes
    uint64_t* series
    uint64_t points             # room in both
    uint64_t point
    Buffer scratch


cdef inline uint64_t hash_words(const uint64_t* words, int count) noexcept nogil:
    """Of their little-endian bytes."""
    cdef uint8_t[8 * PARTS] text
    cdef int i, j
    for i in range(count):
        for j in range(8):
            text[8 * i + j] = <uint8_t>(words[i] >> 8 * j)
    return murmur3_64(text, 8 * count)


cdef int add_attributes(
    SeriesWalk* walk, const uint8_t* p, const uint8_t* end, uint32_t wanted, uint64_t* sum
) noexcept nogil:
    """Adds up the attributes of a message, where they have the tag `wanted`."""
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    cdef int fault
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag == wanted:
            p = read_size(p, end, &size)
            if p == NULL:
                return CORRUPT
            fault = hash_key_value(p, p + size, &walk.scratch, sum)
            if fault != SOUND:
                return fault
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return CORRUPT
    return SOUND


cdef int hash_scope(SeriesWalk* walk, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """One `InstrumentationScope`; of several the last name counts, and the attributes add up."""
    cdef const uint8_t* begin = p
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag == 0x0a or tag == 0x12:
            p = read_size(p, end, &size)
            if p == NULL:
                return CORRUPT
            walk.parts[<int>SCOPE_NAME if tag == 0x0a else <int>SCOPE_VERSION] = murmur3_64(p, size)
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return CORRUPT
    return add_attributes(walk, begin, end, 0x1a, &walk.parts[<int>SCOPE_ATTRIBUTES])


cdef int enter(SeriesWalk* walk, const uint8_t* p, const uint8_t* end, bint resource) noexcept nogil:
    """The headers of a resource or a scope, which may stand behind their children."""
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    cdef int fault
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag == 0x0a:
            p = read_size(p, end, &size)
            if p == NULL:
                return CORRUPT
            if resource:
                fault = add_attributes(walk, p, p + size, 0x0a, &walk.parts[<int>RESOURCE_ATTRIBUTES])
            else:
                fault = hash_scope(walk, p, p + size)
            if fault != SOUND:
                return fault
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return CORRUPT
    return SOUND


cdef int enter_resource(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef SeriesWalk* series = <SeriesWalk*>walk
    series.parts[<int>RESOURCE_ATTRIBUTES] = 0
    return enter(series, p, end, True)


cdef int enter_scope(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef SeriesWalk* series = <SeriesWalk*>walk
    series.parts[<int>SCOPE_NAME] = series.parts[<int>SCOPE_VERSION] = series.parts[<int>SCOPE_ATTRIBUTES] = 0
    return enter(series, p, end, False)


cdef int hash_metric(Walk* at, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef SeriesWalk* walk = <SeriesWalk*>at
    cdef Metric metric
    cdef Points points
    cdef uint64_t[2] pair
    cdef uint32_t attributes
    cdef int more, fault
    fault = read_metric(p, end, &metric)
    if fault != SOUND:
        return fault
    walk.parts[<int>METRIC_NAME] = murmur3_64(metric.name.data, metric.name.size)
    walk.parts[<int>METRIC_UNIT] = murmur3_64(metric.unit.data, metric.unit.size)
    walk.parts[<int>METRIC_KIND] = metric.kind
    pair[0] = hash_words(walk.parts, PARTS)
    attributes = shape_of(metric.kind).attributes
    points = points_of(&metric)
    while True:
        more = next_point(&points)
        if more <= 0:
            return SOUND if more == 0 else CORRUPT
        if walk.point == walk.points:
            return CORRUPT
        pair[1] = 0
        fault = add_attributes(walk, points.body.data, points.body.data + points.body.size, attributes, &pair[1])
        if fault != SOUND:
            return fault
        walk.attributes[walk.point] = pair[1]
        walk.series[walk.point] = hash_words(pair, 2)
        walk.point += 1


cdef Rows hash_points(bytes payload, Py_ssize_t metrics, Py_ssize_t points):
    """Of a payload that was scanned, and found to hold so many of both."""
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = base + PyBytes_GET_SIZE(payload)
    cdef Rows hashes = Rows.__new__(Rows)
    cdef Columns columns
    cdef SeriesWalk walk
    cdef int fault
    hashes.allocate(points, HASHES, 0, 0, &columns)
    memset(&walk, 0, sizeof(SeriesWalk))
    walk.attributes = columns.words[ATTRIBUTES]
    walk.series = columns.words[SERIES]
    walk.points = points
    walk.walk.base = base
    walk.walk.rows = <uint32_t>metrics
    walk.walk.enter_resource = enter_resource
    walk.walk.enter_scope = enter_scope
    walk.walk.leaf = hash_metric
    with nogil:
        fault = visit_request(&walk.walk, base, end)
    free(walk.scratch.data)
    raise_fault(fault)
    return hashes
