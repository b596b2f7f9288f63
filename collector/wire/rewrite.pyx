"""Select and patch the items of an `Export*ServiceRequest` (spans, data points, log records) by copying slices of it.

One walk over the levels above the items plans the answer as a list of pieces (slices of the payload, bytes of the
caller, small new bytes, message headers whose length is filled in when their message ends); then it is allocated once,
exactly, and copied. Items are looked into only to find the tracestate of spans that are sampled. All of it without the
GIL.
"""

import numpy as np

from collector.wire.malformed import Malformed

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from collector.wire.fields cimport BYTES, Field, read_field, varint_size, write_varint
from collector.wire.logs cimport LogIndex
from collector.wire.metric cimport Metric, read_metric
from collector.wire.points cimport PointIndex
from collector.wire.schema cimport SOUND
from collector.wire.tracestate cimport STATE_GROWTH, print_threshold, write_threshold

UNKNOWN_THRESHOLD = 0xFFFFFFFFFFFFFFFF

cdef uint64_t UNKNOWN = 0xFFFFFFFFFFFFFFFF

cdef enum:
    RESOURCE_TAG = 0x0A      # Export*ServiceRequest.resource_spans, .resource_metrics, .resource_logs
    SCOPE_TAG = 0x12         # Resource*.scope_*
    LEAF_TAG = 0x12          # ScopeSpans.spans, ScopeMetrics.metrics, ScopeLogs.log_records
    POINT_TAG = 0x0A         # Gauge.data_points and those of its like
    TRACE_STATE = 0x1A       # Span.trace_state
    LONGEST_TH_FIELD = 32
    CHUNK = 65536

cdef enum Problem:
    OK = 0
    MALFORMED = -1
    NO_MEMORY = -2
    OTHER_INDEX = -3
    BAD_THRESHOLD = -4


cdef struct Piece:
    const uint8_t* at        # NULL: a header of `tag` and the length `size`
    size_t size
    uint8_t tag


cdef struct Chunk:
    Chunk* older
    size_t used
    size_t room              # this many bytes follow


cdef struct Slice:
    const uint8_t* at
    size_t size


cdef struct Job:
    # what to do; NULL where the task doesn't have it
    const uint8_t* mask
    const uint64_t* thresholds
    const int16_t* suffix
    const int32_t* edit
    Slice* slices            # the suffixes or the edits
    Py_ssize_t slice_count
    Py_ssize_t rows
    bint metrics             # the leaves hold the rows, rather than to be them
    # how far it is
    Py_ssize_t row
    Piece* pieces
    size_t used
    size_t room
    Chunk* chunks
    uint64_t last_threshold  # whose field is in `last_field`
    uint8_t* last_field
    size_t last_size


cdef int add_piece(Job* job, const uint8_t* at, size_t size, uint8_t tag) noexcept nogil:
    cdef Piece* grown
    if at != NULL and job.used:
        grown = &job.pieces[job.used - 1]
        if grown.at != NULL and grown.at + grown.size == at:
            grown.size += size
            return OK
    if job.used == job.room:
        grown = <Piece*>realloc(job.pieces, 2 * (job.room + 32) * sizeof(Piece))
        if grown == NULL:
            return NO_MEMORY
        job.pieces = grown
        job.room = 2 * (job.room + 32)
    job.pieces[job.used].at = at
    job.pieces[job.used].size = size
    job.pieces[job.used].tag = tag
    job.used += 1
    return OK


cdef uint8_t* new_bytes(Job* job, size_t size) noexcept nogil:
    """Room for `size` bytes that stay where they are until the job ends, or NULL."""
    cdef Chunk* chunk = job.chunks
    cdef size_t room
    if chunk == NULL or chunk.room - chunk.used < size:
        room = size if size > CHUNK else CHUNK
        chunk = <Chunk*>malloc(sizeof(Chunk) + room)
        if chunk == NULL:
            return NULL
        chunk.older = job.chunks
        chunk.used = 0
        chunk.room = room
        job.chunks = chunk
    chunk.used += size
    return <uint8_t*>(chunk + 1) + chunk.used - size


cdef int add_threshold_field(Job* job, uint64_t threshold, uint64_t* size) noexcept nogil:
    """`trace_state` of a span that has none; spans of one decision share its bytes."""
    cdef uint8_t* field
    if job.last_field == NULL or job.last_threshold != threshold:
        field = new_bytes(job, LONGEST_TH_FIELD)
        if field == NULL:
            return NO_MEMORY
        field[0] = TRACE_STATE
        field[2] = c'o'
        field[3] = c't'
        field[4] = c'='
        field[1] = <uint8_t>(3 + print_threshold(threshold, field + 5))
        job.last_field = field
        job.last_size = 2 + field[1]
        job.last_threshold = threshold
    size[0] += job.last_size
    return add_piece(job, job.last_field, job.last_size, 0)


cdef int add_sampled_body(
    Job* job, const uint8_t* body, const uint8_t* end, uint64_t threshold, uint64_t* size
) noexcept nogil:
    """The fields of a kept span, with the threshold in its tracestate (of repeated ones the last counts)."""
    cdef const uint8_t* at = body
    cdef Field field, found
    cdef uint8_t* state
    cdef uint8_t* header
    cdef size_t state_size = 0, header_size
    cdef int times = 0
    memset(&found, 0, sizeof(Field))
    if threshold >> 56 and threshold != UNKNOWN:
        return BAD_THRESHOLD
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        if field.number == 3 and field.wire == BYTES:
            found = field
            times += 1
        at = field.after
    if times == 0 or found.value == 0:
        size[0] += end - body
        if add_piece(job, body, end - body, 0) < 0:
            return NO_MEMORY
        return OK if threshold == UNKNOWN else add_threshold_field(job, threshold, size)
    state = new_bytes(job, found.value + STATE_GROWTH)
    if state == NULL:
        return NO_MEMORY
    if not write_threshold(found.body, found.value, threshold, threshold != UNKNOWN, state, &state_size):
        job.chunks.used -= found.value + STATE_GROWTH
        size[0] += end - body
        return add_piece(job, body, end - body, 0)
    if add_piece(job, body, found.start - body, 0) < 0:
        return NO_MEMORY
    size[0] += found.start - body
    if state_size or times > 1:
        header = new_bytes(job, LONGEST_TH_FIELD)
        if header == NULL:
            return NO_MEMORY
        header[0] = TRACE_STATE
        header_size = write_varint(header + 1, state_size) - header
        if add_piece(job, header, header_size, 0) < 0 or add_piece(job, state, state_size, 0) < 0:
            return NO_MEMORY
        size[0] += header_size + state_size
    size[0] += end - found.after
    return add_piece(job, found.after, end - found.after, 0)


cdef int add_item(Job* job, const Field* item, uint8_t tag, bint* kept, uint64_t* size) noexcept nogil:
    """The next row: verbatim, edited, sampled or not at all; `size` grows by what it takes."""
    cdef Py_ssize_t row = job.row
    cdef size_t header = job.used
    cdef uint64_t body = 0
    cdef Py_ssize_t extra = -1
    cdef int problem
    if row >= job.rows:
        return OTHER_INDEX
    job.row += 1
    if job.mask != NULL and not job.mask[row]:
        return OK
    kept[0] = True
    if job.edit != NULL and job.edit[row] >= 0:
        extra = job.edit[row]
        body = job.slices[extra].size
        if add_piece(job, NULL, body, tag) < 0 or add_piece(job, job.slices[extra].at, body, 0) < 0:
            return NO_MEMORY
    elif job.thresholds != NULL:
        if job.suffix != NULL:
            extra = job.suffix[row]
        if add_piece(job, NULL, 0, tag) < 0:
            return NO_MEMORY
        problem = add_sampled_body(job, item.body, item.after, job.thresholds[row], &body)
        if problem < 0:
            return problem
        if extra >= 0:
            if extra >= job.slice_count:
                return OTHER_INDEX
            body += job.slices[extra].size
            if add_piece(job, job.slices[extra].at, job.slices[extra].size, 0) < 0:
                return NO_MEMORY
        job.pieces[header].size = body
    else:
        size[0] += item.after - item.start
        return add_piece(job, item.start, item.after - item.start, 0)
    size[0] += 1 + varint_size(body) + body
    return OK


cdef int add_data(Job* job, const Field* data, bint* kept, uint64_t* size) noexcept nogil:
    """The data of a metric with those of its points that are kept."""
    cdef size_t header = job.used
    cdef uint64_t body = 0
    cdef const uint8_t* at = data.body
    cdef Field field
    cdef int problem
    if add_piece(job, NULL, 0, <uint8_t>(data.number << 3 | BYTES)) < 0:
        return NO_MEMORY
    while at < data.after:
        if read_field(at, data.after, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 1 and field.wire == BYTES:
            problem = add_item(job, &field, POINT_TAG, kept, &body)
        else:
            problem = add_piece(job, field.start, field.after - field.start, 0)
            body += field.after - field.start
        if problem < 0:
            return problem
    job.pieces[header].size = body
    size[0] += 1 + varint_size(body) + body
    return OK


cdef int add_metric(Job* job, const Field* found, bint* kept, uint64_t* size) noexcept nogil:
    """A metric with what is kept of the data that counts; nothing when no point is. Other data stays as it is."""
    cdef size_t header = job.used
    cdef uint64_t body = 0
    cdef const uint8_t* at = found.body
    cdef bint any_point = False
    cdef Metric metric
    cdef Field field
    cdef int problem
    if read_metric(at, found.after, &metric) != SOUND:
        return MALFORMED
    if add_piece(job, NULL, 0, LEAF_TAG) < 0:
        return NO_MEMORY
    while at < found.after:
        if read_field(at, found.after, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == metric.kind and field.wire == BYTES and field.start >= metric.run:
            problem = add_data(job, &field, &any_point, &body)
        else:
            problem = add_piece(job, field.start, field.after - field.start, 0)
            body += field.after - field.start
        if problem < 0:
            return problem
    if not any_point:
        job.used = header
        return OK
    kept[0] = True
    job.pieces[header].size = body
    size[0] += 1 + varint_size(body) + body
    return OK


cdef int add_group(Job* job, const Field* group, int level, bint* kept, uint64_t* size) noexcept nogil:
    """A resource (level 1) or scope (level 2) with what is kept of it; nothing when no item is."""
    cdef size_t header = job.used
    cdef uint64_t body = 0
    cdef const uint8_t* at = group.body
    cdef Field field
    cdef bint any_item = False
    cdef int problem
    if add_piece(job, NULL, 0, RESOURCE_TAG if level == 1 else SCOPE_TAG) < 0:
        return NO_MEMORY
    while at < group.after:
        if read_field(at, group.after, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number != 2 or field.wire != BYTES:
            problem = add_piece(job, field.start, field.after - field.start, 0)
            body += field.after - field.start
        elif level == 1:
            problem = add_group(job, &field, 2, &any_item, &body)
        elif job.metrics:
            problem = add_metric(job, &field, &any_item, &body)
        else:
            problem = add_item(job, &field, LEAF_TAG, &any_item, &body)
        if problem < 0:
            return problem
    if not any_item:
        job.used = header
        return OK
    kept[0] = True
    job.pieces[header].size = body
    size[0] += 1 + varint_size(body) + body
    return OK


cdef int plan(Job* job, const uint8_t* at, const uint8_t* end, uint64_t* size) noexcept nogil:
    cdef Field field
    cdef bint kept = False
    cdef int problem
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 1 and field.wire == BYTES:
            problem = add_group(job, &field, 1, &kept, size)
        else:
            problem = add_piece(job, field.start, field.after - field.start, 0)
            size[0] += field.after - field.start
        if problem < 0:
            return problem
    return OK if job.row == job.rows else OTHER_INDEX


cdef void copy_pieces(const Job* job, uint8_t* out) noexcept nogil:
    cdef size_t i
    cdef const Piece* piece
    for i in range(job.used):
        piece = &job.pieces[i]
        if piece.at == NULL:
            out[0] = piece.tag
            out = write_varint(out + 1, piece.size)
        else:
            memcpy(out, piece.at, piece.size)
            out += piece.size


cdef bytes run(Job* job, bytes payload):
    """Plan and copy; frees what the job allocated."""
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(payload)
    cdef uint64_t size = 0
    cdef int problem
    cdef bytes out
    cdef uint8_t* target
    cdef Chunk* chunk
    try:
        with nogil:
            problem = plan(job, at, at + length, &size)
        if problem == MALFORMED:
            raise Malformed("not an OTLP request")
        if problem == NO_MEMORY:
            raise MemoryError
        if problem == BAD_THRESHOLD:
            raise ValueError("a threshold has 56 bits")
        if problem == OTHER_INDEX:
            raise ValueError("the index is not this payload's, or a suffix doesn't exist")
        out = PyBytes_FromStringAndSize(NULL, size)
        target = <uint8_t*>PyBytes_AS_STRING(out)
        with nogil:
            copy_pieces(job, target)
        return out
    finally:
        free(job.pieces)
        while job.chunks != NULL:
            chunk = job.chunks.older
            free(job.chunks)
            job.chunks = chunk


cdef start(Job* job, index, const uint8_t[::1] mask):
    """`mask` (or None) must outlive the job."""
    memset(job, 0, sizeof(Job))
    job.rows = index.count
    job.metrics = isinstance(index, PointIndex)
    if mask is not None:
        if mask.shape[0] != job.rows:
            raise ValueError("the mask has one bool per row of the index")
        if job.rows:
            job.mask = &mask[0]


cdef Slice* slices_of(list values) except NULL:
    """Where the bytes of `values` are. The list must outlive the answer, which is the caller's to free."""
    cdef Py_ssize_t i, count = len(values)
    cdef Slice* slices = <Slice*>malloc((count + 1) * sizeof(Slice))
    if slices == NULL:
        raise MemoryError
    for i in range(count):
        value = values[i]
        if not isinstance(value, bytes):
            free(slices)
            raise TypeError("items and suffixes are bytes")
        slices[i].at = <const uint8_t*>PyBytes_AS_STRING(value)
        slices[i].size = PyBytes_GET_SIZE(value)
    return slices


cdef const uint8_t[::1] as_flags(mask):
    return np.ascontiguousarray(mask, np.bool_).view(np.uint8)


def select(bytes payload not None, index, mask):
    cdef Job job
    cdef const uint8_t[::1] flags = as_flags(mask)
    start(&job, index, flags)
    return run(&job, payload)


def replace_spans(bytes payload not None, index, edits, mask=None):
    cdef Job job
    cdef const uint8_t[::1] flags = None if mask is None else as_flags(mask)
    cdef int32_t[::1] rows
    cdef list values = []
    cdef Py_ssize_t row
    start(&job, index, flags)
    rows = np.full(job.rows, -1, np.int32)
    for row, value in edits.items():
        if row < 0 or row >= job.rows:
            raise ValueError("an edit's row is not in the index")
        rows[row] = <int32_t>len(values)
        values.append(value)
    job.slices = slices_of(values)
    try:
        if job.rows:
            job.edit = &rows[0]
        return run(&job, payload)
    finally:
        free(job.slices)


replace_points = replace_logs = replace_spans


def sample(bytes payload not None, index, mask, thresholds, suffixes=(), suffix=None):
    cdef Job job
    cdef const uint8_t[::1] flags = as_flags(mask)
    cdef const uint64_t[::1] limits = np.ascontiguousarray(thresholds, np.uint64)
    cdef const int16_t[::1] chosen
    cdef list values = list(suffixes)
    if isinstance(index, (PointIndex, LogIndex)):
        raise TypeError("only spans have a tracestate to sample by")
    start(&job, index, flags)
    if limits.shape[0] != job.rows:
        raise ValueError("thresholds has one entry per row of the index")
    if suffix is not None:
        chosen = np.ascontiguousarray(suffix, np.int16)
        if chosen.shape[0] != job.rows:
            raise ValueError("suffix has one entry per row of the index")
        if job.rows:
            job.suffix = &chosen[0]
    job.slices = slices_of(values)
    job.slice_count = len(values)
    try:
        if job.rows:
            job.thresholds = &limits[0]
        return run(&job, payload)
    finally:
        free(job.slices)
