"""One pass over the bytes of an `ExportTraceServiceRequest`: a row of numbers for every span, and nothing decoded.

A cheap pass over the three outer levels counts the spans, so that the columns are allocated once and exactly;
the second pass fills them. `validate` looks into everything on its way, `scan` skips by length whatever has neither
a column nor a probe.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from collector.wire.columns cimport Columns
from collector.wire.malformed cimport check_size, raise_fault
from collector.wire.probes cimport (
    IN_RESOURCE, IN_SPAN, Plan, Probes as CompiledProbes, Text, match_attribute, match_event, match_span,
    may_match,
)
from collector.wire.schema cimport (
    CORRUPT, EVENT, KEY_VALUE, LINK, NOT_UTF8, SOUND, STATUS, TOO_MANY, check_key_value, check_message, text_of_common,
)
from collector.wire.span_index cimport (
    BYTES, DEFECTS, END, FLAGS, HALVES, KIND, LENGTH, MATCHES, OFFSET, PARENT_ID, RESOURCE_ROW, SCOPE_ROW, SPAN_ID,
    START, STATUS_CODE, TRACE_HI, TRACE_LO, WORDS, SpanIndex as CompiledIndex,
)
from collector.wire.utf8 cimport is_ascii, is_utf8
from collector.wire.varint cimport (
    MAX_LEVELS, load_be64, load_le32, load_le64, read_size, read_tag, read_varint, skip_value,
)
from collector.wire.walk cimport Walk, count_leaves, visit_request

from collector.wire.malformed import MAX_PAYLOAD, Malformed  # no-cython-lint: scan's contract has them
from collector.wire.probes import Probes  # no-cython-lint: same
from collector.wire.span_index import SpanIndex  # no-cython-lint: same

BAD_TRACE_ID = 1
BAD_SPAN_ID = 2

cdef enum:
    BAD_TRACE = 1
    BAD_SPAN = 2

cdef struct SpanWalk:
    Walk walk
    const Plan* plan            # NULL without probes
    Columns columns
    uint64_t inherited          # conditions that the current resource meets


cdef int read_status(const uint8_t* p, const uint8_t* end, uint32_t* code) noexcept nogil:
    cdef uint32_t tag = 0
    cdef uint64_t value = 0
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag == 0x18:
            p = read_varint(p, end, &value)
            code[0] = <uint32_t>value
        else:
            p = skip_value(p, end, tag, MAX_LEVELS - 4)
        if p == NULL:
            return CORRUPT
    return SOUND


cdef inline int check_run(
    const Walk* walk, const uint8_t* begin, const uint8_t* text_end, const uint8_t* end
) noexcept nogil:
    """Attributes with one-byte lengths; sound if all is ASCII up to `text_end`: the start of a number, or `end`."""
    cdef const uint8_t* p = begin
    cdef int fault
    if text_end != begin and walk.values > 0 and is_ascii(begin, text_end - begin):
        return SOUND
    while p < end:
        fault = check_message(KEY_VALUE, p + 2, p + 2 + p[1], MAX_LEVELS - 4, walk.values)
        if fault != SOUND:
            return fault
        p += 2 + p[1]
    return SOUND


cdef int index_span(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
    """Fills one row. Where a field occurs more than once the last occurrence counts, as in protobuf."""
    cdef SpanWalk* spans = <SpanWalk*>walk
    cdef const Columns* columns = &spans.columns
    cdef const Plan* plan = spans.plan
    cdef bint strict = walk.strict
    cdef bint look = strict or (plan != NULL and plan.places[<int>IN_SPAN].sizes != 0)
    cdef uint32_t row = walk.row
    cdef uint32_t tag = 0, kind = 0, status = 0, flags = 0
    cdef uint64_t size = 0, start = 0, stop = 0, hi = 0, lo = 0, span_id = 0, value = 0
    cdef uint64_t matches = spans.inherited
    cdef uint8_t defects = 0
    cdef Text trace = Text(p, 0), span = Text(p, 0), parent = Text(p, 0), name = Text(p, 0), state = Text(p, 0)
    cdef const uint8_t* body
    cdef const uint8_t* begin
    cdef const uint8_t* text_end
    cdef int fault = SOUND
    columns.halves[OFFSET][row] = <uint32_t>(p - walk.base)
    columns.halves[LENGTH][row] = <uint32_t>(end - p)
    # As every SDK begins a span. Known distances keep the processor from waiting for each length before the next tag.
    if end - p >= 46 and p[0] == 0x0a and p[1] == 16 and p[18] == 0x12 and p[19] == 8:
        trace = Text(p + 2, 16)
        span = Text(p + 20, 8)
        p += 28
        if p[0] == 0x22 and p[1] == 8:
            parent = Text(p + 2, 8)
            p += 10
    while p < end:
        begin = p
        while end - p >= 2 and p[0] == 0x4a and p[1] < 0x80:        # a run of attributes
            body = p + 2
            if p[1] > end - body:
                return CORRUPT
            p = body + p[1]
            if not look:
                continue
            if strict:
                # Text is looked at in one go up to the next number, and attribute by attribute only if not ASCII.
                text_end = text_of_common(body, p)
                if text_end != p:
                    fault = check_run(walk, begin, text_end if text_end != NULL else begin, p)
                    begin = p
            elif may_match(plan, IN_SPAN, body, p):
                fault = match_attribute(plan, IN_SPAN, body, p, &matches)
            if fault != SOUND:
                return fault
        if strict and begin != p:
            fault = check_run(walk, begin, p, p)
            if fault != SOUND:
                return fault
        if p == end:
            break
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 == 2:
            p = read_size(p, end, &size)
            if p == NULL:
                return CORRUPT
            body = p
            p += size
            if tag == 0x4a:                             # attributes
                if strict:
                    fault = check_key_value(body, p, MAX_LEVELS - 4, walk.values)
                elif look and may_match(plan, IN_SPAN, body, p):
                    fault = match_attribute(plan, IN_SPAN, body, p, &matches)
            elif tag == 0x0a:
                trace = Text(body, size)
            elif tag == 0x12:
                span = Text(body, size)
            elif tag == 0x22:
                parent = Text(body, size)
            elif tag == 0x2a:
                name = Text(body, size)
                if strict and not is_utf8(body, size):
                    return NOT_UTF8
            elif tag == 0x1a:
                state = Text(body, size)
                if strict and not is_utf8(body, size):
                    return NOT_UTF8
            elif tag == 0x5a:                           # events
                if strict:
                    fault = check_message(EVENT, body, p, MAX_LEVELS - 4, walk.values)
                elif plan != NULL and plan.events:
                    fault = match_event(plan, body, p, &matches)
            elif tag == 0x7a:
                if strict:
                    fault = check_message(STATUS, body, p, MAX_LEVELS - 4, walk.values)
                if fault == SOUND:
                    fault = read_status(body, p, &status)
            elif tag == 0x6a and strict:                # links
                fault = check_message(LINK, body, p, MAX_LEVELS - 4, walk.values)
            if fault != SOUND:
                return fault
        elif tag == 0x39 or tag == 0x41:
            if end - p < 8:
                return CORRUPT
            if tag == 0x39:
                start = load_le64(p)
            else:
                stop = load_le64(p)
            p += 8
        elif tag == 0x30:
            p = read_varint(p, end, &value)
            if p == NULL:
                return CORRUPT
            kind = <uint32_t>value
            if end - p >= 18 and p[0] == 0x39 and p[9] == 0x41:
                start = load_le64(p + 1)
                stop = load_le64(p + 10)
                p += 18
        elif tag == 0x85:
            if end - p < 4:
                return CORRUPT
            flags = load_le32(p)
            p += 4
        else:
            p = skip_value(p, end, tag, MAX_LEVELS - 3)
            if p == NULL:
                return CORRUPT
    if trace.size == 16:
        hi = load_be64(trace.data)
        lo = load_be64(trace.data + 8)
    if hi | lo == 0:
        defects |= BAD_TRACE
    if span.size == 8:
        span_id = load_be64(span.data)
    if span_id == 0:
        defects |= BAD_SPAN
    if plan != NULL:
        matches = match_span(plan, name, state, status, flags, matches)
    columns.words[TRACE_HI][row] = hi
    columns.words[TRACE_LO][row] = lo
    columns.words[SPAN_ID][row] = span_id
    columns.words[PARENT_ID][row] = load_be64(parent.data) if parent.size == 8 else 0
    columns.words[START][row] = start
    columns.words[END][row] = stop
    columns.words[MATCHES][row] = matches
    columns.halves[RESOURCE_ROW][row] = walk.resource
    columns.halves[SCOPE_ROW][row] = walk.scope
    columns.halves[KIND][row] = kind
    columns.halves[STATUS_CODE][row] = status
    columns.halves[FLAGS][row] = flags
    columns.bytes[DEFECTS][row] = defects
    return SOUND


cdef int match_resource(SpanWalk* walk, const uint8_t* p, const uint8_t* end, bint inside) except -1 nogil:
    """Evaluates the conditions on the resource, which may stand behind its spans and may occur in several parts.

    Goes over a ResourceSpans, and over each Resource that it finds there (`inside`).
    """
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
            if not inside:
                fault = match_resource(walk, p, p + size, True)
            elif may_match(walk.plan, IN_RESOURCE, p, p + size):
                fault = match_attribute(walk.plan, IN_RESOURCE, p, p + size, &walk.inherited)
            else:
                fault = SOUND
            if fault != SOUND:
                return fault
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return CORRUPT
    return SOUND


cdef int enter_resource(Walk* at, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef SpanWalk* walk = <SpanWalk*>at
    walk.inherited = 0
    return match_resource(walk, p, end, False)


cdef CompiledIndex run(bytes payload, CompiledProbes probes, bint strict, uint64_t max_spans, int max_depth):
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = base + PyBytes_GET_SIZE(payload)
    cdef uint64_t spans = 0
    cdef CompiledIndex index
    cdef SpanWalk walk
    cdef int fault
    check_size(payload)
    with nogil:
        fault = count_leaves(base, end, 0, &spans, NULL, NULL)
        if fault == SOUND and max_spans and spans > max_spans:
            fault = TOO_MANY
    raise_fault(fault)
    index = CompiledIndex.__new__(CompiledIndex)
    index.allocate(spans, WORDS, HALVES, BYTES, &walk.columns)
    memset(&walk.walk, 0, sizeof(Walk))
    walk.walk.base = base
    walk.walk.strict = strict
    walk.walk.values = max_depth
    walk.walk.rows = <uint32_t>spans
    walk.walk.leaf = index_span
    walk.plan = NULL
    walk.inherited = 0
    if probes is None:
        with nogil:
            fault = visit_request(&walk.walk, base, end)
    else:
        walk.plan = &probes.plan
        if walk.plan.places[<int>IN_RESOURCE].sizes:
            walk.walk.enter_resource = enter_resource
        probes.scans += 1
        try:
            with nogil:
                fault = visit_request(&walk.walk, base, end)
        finally:
            probes.scans -= 1
    raise_fault(fault)
    return index


def scan(bytes payload not None, CompiledProbes probes=None):
    return run(payload, probes, False, 0, 0)


def validate(bytes payload not None, *, uint64_t max_spans=0, int max_depth=32):
    return run(payload, None, True, max_spans, max_depth)
