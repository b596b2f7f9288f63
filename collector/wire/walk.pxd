"""The way from a request of any signal down to its leaves: request, resources, scopes, and in those spans, metrics or
log records. Who scans says what happens at each leaf. Numbers of fields are the same for all three signals.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.schema cimport CORRUPT, NOT_UTF8, RESOURCE, SCOPE, SOUND, Message, check_message
from collector.wire.utf8 cimport is_utf8
from collector.wire.varint cimport MAX_LEVELS, read_size, read_tag, skip_value

ctypedef int (*Count)(const uint8_t* p, const uint8_t* end, uint64_t* inside) noexcept nogil
ctypedef int (*Visit)(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil

cdef struct Walk:               # the first member of what a scan keeps, to which its visits cast it
    const uint8_t* base
    bint strict                 # look into everything
    int values                  # AnyValues inside one another, if strict
    uint32_t rows               # leaves that were counted
    uint32_t row                # this many were visited
    uint32_t resource           # ordinals of the current ones
    uint32_t scope
    Visit enter_resource        # NULL, or called with all of a resource before its scopes
    Visit enter_scope           # likewise
    Visit leaf


cdef inline int count_leaves(
    const uint8_t* p, const uint8_t* end, int level, uint64_t* leaves, Count count, uint64_t* inside
) noexcept nogil:
    """Adds up the leaves below a request (level 0), a resource (1) or a scope (2); `count`, or NULL, looks inside."""
    cdef uint32_t tag = 0
    cdef uint32_t child = 0x0a if level == 0 else 0x12
    cdef uint64_t size = 0
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag == child:
            p = read_size(p, end, &size)
            if p == NULL:
                return CORRUPT
            if level != 2:
                if count_leaves(p, p + size, level + 1, leaves, count, inside) != SOUND:
                    return CORRUPT
            else:
                leaves[0] += 1
                if count != NULL and count(p, p + size, inside) != SOUND:
                    return CORRUPT
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS - level)
            if p == NULL:
                return CORRUPT
    return SOUND


cdef inline int check_field(Walk* walk, uint32_t tag, const uint8_t* p, uint64_t size, Message header) noexcept nogil:
    """The fields beside the children of a resource or a scope: the header and the schema URL."""
    if not walk.strict:
        return SOUND
    if tag == 0x0a:
        return check_message(header, p, p + size, MAX_LEVELS - (2 if header == RESOURCE else 3), walk.values)
    if tag == 0x1a and not is_utf8(p, size):
        return NOT_UTF8
    return SOUND


cdef inline int visit_scope(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    cdef int fault
    if walk.enter_scope != NULL:
        fault = walk.enter_scope(walk, p, end)
        if fault != SOUND:
            return fault
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 != 2:
            p = skip_value(p, end, tag, MAX_LEVELS - 2)
            if p == NULL:
                return CORRUPT
            continue
        p = read_size(p, end, &size)
        if p == NULL:
            return CORRUPT
        if tag == 0x12:
            if walk.row == walk.rows:
                return CORRUPT
            fault = walk.leaf(walk, p, p + size)
            walk.row += 1
        else:
            fault = check_field(walk, tag, p, size, SCOPE)
        if fault != SOUND:
            return fault
        p += size
    walk.scope += 1
    return SOUND


cdef inline int visit_resource(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    cdef int fault
    if walk.enter_resource != NULL:
        fault = walk.enter_resource(walk, p, end)
        if fault != SOUND:
            return fault
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 != 2:
            p = skip_value(p, end, tag, MAX_LEVELS - 1)
            if p == NULL:
                return CORRUPT
            continue
        p = read_size(p, end, &size)
        if p == NULL:
            return CORRUPT
        if tag == 0x12:
            fault = visit_scope(walk, p, p + size)
        else:
            fault = check_field(walk, tag, p, size, RESOURCE)
        if fault != SOUND:
            return fault
        p += size
    walk.resource += 1
    return SOUND


cdef inline int visit_request(Walk* walk, const uint8_t* p, const uint8_t* end) except -1 nogil:
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
            fault = visit_resource(walk, p, p + size)
            if fault != SOUND:
                return fault
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return CORRUPT
    return SOUND
