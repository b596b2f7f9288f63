"""One pass over the bytes of an `ExportMetricsServiceRequest`: a row of numbers for every data point.

As in scan.pyx, a cheap pass counts first. `validate_metrics` looks into each metric by the schema before it indexes it.
The hashes of points take longer than everything else here, so that they are computed when they are first asked for.
"""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from collector.wire.columns cimport Columns, Rows
from collector.wire.malformed cimport check_size, raise_fault
from collector.wire.metric cimport (
    GAUGE_KIND, SUM_KIND, SUMMARY_KIND, Metric, Piece, Points, Shape, count_points, next_point, points_of, read_metric,
    shape_of,
)
from collector.wire.points cimport (
    BYTES, EXEMPLARS, FLAGS, HALVES, KIND, LENGTH, METRIC_HALVES, METRIC_LENGTH, METRIC_OFFSET, METRIC_ROW, MONOTONIC,
    NAME_LENGTH, NAME_OFFSET, OFFSET, RESOURCE_ROW, SCOPE_ROW, START, TEMPORALITY, TIME, WORDS, MetricRows,
)
from collector.wire.schema cimport CORRUPT, METRIC, SOUND, TOO_MANY, check_message
from collector.wire.series cimport ATTRIBUTES, SERIES, hash_points
from collector.wire.varint cimport MAX_LEVELS, load_le64, read_tag, read_varint, skip_value
from collector.wire.walk cimport Walk, count_leaves, visit_request

cdef struct PointWalk:
    Walk walk
    Columns columns
    Columns metrics
    uint64_t points             # room in the columns
    uint64_t point


cdef int index_point(PointWalk* walk, const Piece* body, const Shape* shape) noexcept nogil:
    """Fills one row, but for what the metric says of all its points. Of a repeated field the last counts."""
    cdef const uint8_t* p = body.data
    cdef const uint8_t* end = p + body.size
    cdef const Columns* columns = &walk.columns
    cdef uint64_t row = walk.point
    cdef uint64_t start = 0, time = 0, flags = 0
    cdef uint32_t exemplars = 0, tag = 0
    if body.size >= 27 and p[0] == 0x11 and p[9] == 0x19:       # as every SDK begins a point
        start = load_le64(p + 1)
        time = load_le64(p + 10)
        p += 27 if p[18] == 0x31 or p[18] == 0x21 else 18       # as_int, as_double or count
    while p < end:
        while end - p >= 2 and p[0] == shape.attributes and p[1] < 0x80:    # a run of attributes
            if p[1] > end - p - 2:
                return CORRUPT
            p += 2 + p[1]
        if p == end:
            break
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag == 0x11 or tag == 0x19:
            if end - p < 8:
                return CORRUPT
            if tag == 0x11:
                start = load_le64(p)
            else:
                time = load_le64(p)
            p += 8
            continue
        if tag == shape.flags:
            p = read_varint(p, end, &flags)
        else:
            exemplars += tag == shape.exemplars
            p = skip_value(p, end, tag, MAX_LEVELS - 5)
        if p == NULL:
            return CORRUPT
    columns.words[TIME][row] = time
    columns.words[START][row] = start
    columns.halves[OFFSET][row] = <uint32_t>(body.data - walk.walk.base)
    columns.halves[LENGTH][row] = <uint32_t>body.size
    columns.halves[FLAGS][row] = <uint32_t>flags
    columns.halves[EXEMPLARS][row] = exemplars
    columns.halves[METRIC_ROW][row] = walk.walk.row
    columns.halves[RESOURCE_ROW][row] = walk.walk.resource
    columns.halves[SCOPE_ROW][row] = walk.walk.scope
    walk.point = row + 1
    return SOUND


cdef int index_metric(Walk* at, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef PointWalk* walk = <PointWalk*>at
    cdef uint64_t first = walk.point, row
    cdef Metric metric
    cdef Points points
    cdef Shape shape
    cdef uint8_t temporality
    cdef int more, fault = SOUND
    if at.strict:
        fault = check_message(METRIC, p, end, MAX_LEVELS - 3, at.values)
    if fault == SOUND:
        fault = read_metric(p, end, &metric)
    if fault != SOUND:
        return fault
    walk.metrics.halves[METRIC_OFFSET][at.row] = <uint32_t>(p - at.base)
    walk.metrics.halves[METRIC_LENGTH][at.row] = <uint32_t>(end - p)
    walk.metrics.halves[NAME_OFFSET][at.row] = <uint32_t>(metric.name.data - at.base)
    walk.metrics.halves[NAME_LENGTH][at.row] = <uint32_t>metric.name.size
    shape = shape_of(metric.kind)
    points = points_of(&metric)
    while True:
        more = next_point(&points)
        if more <= 0:
            break
        if walk.point == walk.points:
            return CORRUPT
        fault = index_point(walk, &points.body, &shape)
        if fault != SOUND:
            return fault
    if more < 0:
        return CORRUPT
    temporality = 0
    if metric.kind != GAUGE_KIND and metric.kind != SUMMARY_KIND and points.temporality <= 2:
        temporality = <uint8_t>points.temporality
    for row in range(first, walk.point):
        walk.columns.bytes[KIND][row] = <uint8_t>metric.kind
        walk.columns.bytes[TEMPORALITY][row] = temporality
        walk.columns.bytes[MONOTONIC][row] = points.monotonic and metric.kind == SUM_KIND
    return SOUND


cdef class MetricRows(Rows):
    pass


cdef class PointIndex(Rows):
    @property
    def time(self):
        return self.word(TIME)

    @property
    def start(self):
        return self.word(START)

    @property
    def offset(self):
        return self.half(OFFSET)

    @property
    def length(self):
        return self.half(LENGTH)

    @property
    def flags(self):
        return self.half(FLAGS)

    @property
    def exemplars(self):
        return self.half(EXEMPLARS)

    @property
    def metric(self):
        return self.half(METRIC_ROW)

    @property
    def resource(self):
        return self.half(RESOURCE_ROW)

    @property
    def scope(self):
        return self.half(SCOPE_ROW)

    @property
    def kind(self):
        return self.byte(KIND)

    @property
    def temporality(self):
        return self.byte(TEMPORALITY)

    @property
    def monotonic(self):
        return self.byte(MONOTONIC, cnp.NPY_BOOL)

    @property
    def attributes(self):
        return self.hashed().word(ATTRIBUTES)

    @property
    def series(self):
        return self.hashed().word(SERIES)

    @property
    def metric_offset(self):
        return self.metrics.half(METRIC_OFFSET)

    @property
    def metric_length(self):
        return self.metrics.half(METRIC_LENGTH)

    @property
    def name_offset(self):
        return self.metrics.half(NAME_OFFSET)

    @property
    def name_length(self):
        return self.metrics.half(NAME_LENGTH)

    cdef Rows hashed(self):
        if self.hashes is None:
            self.hashes = hash_points(self.payload, self.metrics.count, self.count)
        return self.hashes


cdef PointIndex run(bytes payload, bint strict, uint64_t max_points, int max_depth):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = base + PyBytes_GET_SIZE(payload)
    cdef uint64_t metrics = 0, points = 0
    cdef PointIndex index
    cdef PointWalk walk
    cdef int fault
    check_size(payload)
    with nogil:
        fault = count_leaves(base, end, 0, &metrics, count_points, &points)
        if fault == SOUND and max_points and max(points, metrics) > max_points:
            fault = TOO_MANY
    raise_fault(fault)
    index = PointIndex.__new__(PointIndex)
    index.payload = payload
    index.metrics = MetricRows.__new__(MetricRows)
    index.metrics.allocate(metrics, 0, METRIC_HALVES, 0, &walk.metrics)
    index.allocate(points, WORDS, HALVES, BYTES, &walk.columns)
    memset(&walk.walk, 0, sizeof(Walk))
    walk.walk.base = base
    walk.walk.strict = strict
    walk.walk.values = max_depth
    walk.walk.rows = <uint32_t>metrics
    walk.walk.leaf = index_metric
    walk.points = points
    walk.point = 0
    with nogil:
        fault = visit_request(&walk.walk, base, end)
    raise_fault(fault)
    return index


def scan_metrics(bytes payload not None):
    return run(payload, False, 0, 0)


def validate_metrics(bytes payload not None, *, uint64_t max_points=0, int max_depth=32):
    return run(payload, True, max_points, max_depth)
