"""One pass over the bytes of an `ExportLogsServiceRequest`: a row of numbers for every log record. As scan.pyx."""

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from collector.wire.columns cimport Columns, Rows
from collector.wire.logs cimport (
    BYTES, DEFECTS, FLAGS, HALVES, LENGTH, OBSERVED, OFFSET, RESOURCE_ROW, SCOPE_ROW, SEVERITY, SPAN_ID, TIME, TRACE_HI,
    TRACE_LO, WORDS,
)
from collector.wire.malformed cimport check_size, raise_fault
from collector.wire.schema cimport CORRUPT, LOG_RECORD, SOUND, TOO_MANY, check_message
from collector.wire.varint cimport (
    MAX_LEVELS, load_be64, load_le32, load_le64, read_size, read_tag, read_varint, skip_value,
)
from collector.wire.walk cimport Walk, count_leaves, visit_request

cdef enum:
    BAD_TRACE = 1
    BAD_SPAN = 2

cdef struct LogWalk:
    Walk walk
    Columns columns


cdef inline bint is_zero(const uint8_t* p, uint64_t size) noexcept nogil:
    cdef uint64_t i
    for i in range(size):
        if p[i]:
            return False
    return True


cdef int index_record(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
    """Fills one row. Where a field occurs more than once the last occurrence counts, as in protobuf."""
    cdef const Columns* columns = &(<LogWalk*>walk).columns
    cdef const uint8_t* begin = p
    cdef const uint8_t* trace = p
    cdef const uint8_t* span = p
    cdef uint64_t trace_size = 0, span_size = 0, size = 0, severity = 0
    cdef uint64_t time = 0, observed = 0, hi = 0, lo = 0, span_id = 0
    cdef uint32_t row = walk.row, tag = 0, flags = 0
    cdef uint8_t defects = 0
    cdef int fault
    if walk.strict:
        fault = check_message(LOG_RECORD, p, end, MAX_LEVELS - 3, walk.values)
        if fault != SOUND:
            return fault
    while p < end:
        while end - p >= 2 and p[0] == 0x32 and p[1] < 0x80:        # a run of attributes
            if p[1] > end - p - 2:
                return CORRUPT
            p += 2 + p[1]
        if p == end:
            break
        # As SDKs end a record. Known distances keep the processor from waiting for each length before the next tag.
        if end - p >= 33 and p[0] == 0x45 and p[5] == 0x4a and p[6] == 16 and p[23] == 0x52 and p[24] == 8:
            flags = load_le32(p + 1)
            trace = p + 7
            trace_size = 16
            span = p + 25
            span_size = 8
            p += 33
            continue
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 == 2:
            p = read_size(p, end, &size)
            if p == NULL:
                return CORRUPT
            if tag == 0x4a:
                trace = p
                trace_size = size
            elif tag == 0x52:
                span = p
                span_size = size
            p += size
            continue
        if tag == 0x09 or tag == 0x59:
            if end - p < 8:
                return CORRUPT
            if tag == 0x09:
                time = load_le64(p)
            else:
                observed = load_le64(p)
            p += 8
        elif tag == 0x10:
            p = read_varint(p, end, &severity)
        elif tag == 0x45:
            if end - p < 4:
                return CORRUPT
            flags = load_le32(p)
            p += 4
        else:
            p = skip_value(p, end, tag, MAX_LEVELS - 3)
        if p == NULL:
            return CORRUPT
    if trace_size == 16:
        hi = load_be64(trace)
        lo = load_be64(trace + 8)
    elif not is_zero(trace, trace_size):
        defects |= BAD_TRACE
    if span_size == 8:
        span_id = load_be64(span)
    elif not is_zero(span, span_size):
        defects |= BAD_SPAN
    columns.words[TIME][row] = time
    columns.words[OBSERVED][row] = observed
    columns.words[TRACE_HI][row] = hi
    columns.words[TRACE_LO][row] = lo
    columns.words[SPAN_ID][row] = span_id
    columns.halves[OFFSET][row] = <uint32_t>(begin - walk.base)
    columns.halves[LENGTH][row] = <uint32_t>(end - begin)
    columns.halves[SEVERITY][row] = <uint32_t>severity
    columns.halves[FLAGS][row] = flags
    columns.halves[RESOURCE_ROW][row] = walk.resource
    columns.halves[SCOPE_ROW][row] = walk.scope
    columns.bytes[DEFECTS][row] = defects
    return SOUND


cdef class LogIndex(Rows):
    @property
    def time(self):
        return self.word(TIME)

    @property
    def observed(self):
        return self.word(OBSERVED)

    @property
    def trace_hi(self):
        return self.word(TRACE_HI)

    @property
    def trace_lo(self):
        return self.word(TRACE_LO)

    @property
    def span_id(self):
        return self.word(SPAN_ID)

    @property
    def offset(self):
        return self.half(OFFSET)

    @property
    def length(self):
        return self.half(LENGTH)

    @property
    def severity(self):
        return self.half(SEVERITY, cnp.NPY_INT32)

    @property
    def flags(self):
        return self.half(FLAGS)

    @property
    def resource(self):
        return self.half(RESOURCE_ROW)

    @property
    def scope(self):
        return self.half(SCOPE_ROW)

    @property
    def defects(self):
        return self.byte(DEFECTS)


cdef LogIndex run(bytes payload, bint strict, uint64_t max_records, int max_depth):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = base + PyBytes_GET_SIZE(payload)
    cdef uint64_t records = 0
    cdef LogIndex index
    cdef LogWalk walk
    cdef int fault
    check_size(payload)
    with nogil:
        fault = count_leaves(base, end, 0, &records, NULL, NULL)
        if fault == SOUND and max_records and records > max_records:
            fault = TOO_MANY
    raise_fault(fault)
    index = LogIndex.__new__(LogIndex)
    index.allocate(records, WORDS, HALVES, BYTES, &walk.columns)
    memset(&walk.walk, 0, sizeof(Walk))
    walk.walk.base = base
    walk.walk.strict = strict
    walk.walk.values = max_depth
    walk.walk.rows = <uint32_t>records
    walk.walk.leaf = index_record
    with nogil:
        fault = visit_request(&walk.walk, base, end)
    raise_fault(fault)
    return index


def scan_logs(bytes payload not None):
    return run(payload, False, 0, 0)


def validate_logs(bytes payload not None, *, uint64_t max_records=0, int max_depth=32):
    return run(payload, True, max_records, max_depth)
