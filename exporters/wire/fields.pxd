"""Protobuf's wire format: one field at a time with all its borders, every read bounds-checked.

The limits are those of upb, protobuf's C parser: varints of at most 10 bytes, tags of at most 5 bytes and 32 bits,
lengths of at most 5 bytes. (Top-level packages don't cimport from one another, so this is not `collector.wire`'s.)
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    GROUP = 3
    END_GROUP = 4
    FIXED32 = 5
    MAX_GROUPS = 100         # groups inside one another


cdef struct Field:
    uint32_t number
    uint32_t wire
    uint64_t value           # of VARINT alone
    const uint8_t* start     # first byte of the tag
    const uint8_t* sized     # first byte behind the tag: of BYTES, its length
    const uint8_t* body      # first byte of the value (behind the length of BYTES)
    const uint8_t* after     # first byte behind the field


cdef inline const uint8_t* read_varint(const uint8_t* at, const uint8_t* end, uint64_t* value) noexcept nogil:
    cdef uint64_t result = 0
    cdef int shift = 0
    while at < end and shift < 70:
        result |= (<uint64_t>at[0] & 0x7F) << shift if shift < 64 else 0
        at += 1
        if (at - 1)[0] < 0x80:
            value[0] = result
            return at
        shift += 7
    return NULL


cdef inline const uint8_t* read_tag(const uint8_t* at, const uint8_t* end, uint32_t* tag) noexcept nogil:
    """A tag, whose field number may be 0, which only groups that are skipped may have."""
    cdef uint64_t result = 0
    cdef const uint8_t* begin = at
    if at < end and at[0] < 0x80:
        tag[0] = at[0]
        return at + 1
    at = read_varint(at, end, &result)
    if at == NULL or at - begin > 5 or result >> 32:
        return NULL
    tag[0] = <uint32_t>result
    return at


cdef inline const uint8_t* read_size(const uint8_t* at, const uint8_t* end, uint64_t* size) noexcept nogil:
    """The length of what follows, which is known to lie before `end`."""
    cdef const uint8_t* begin = at
    if at < end and at[0] < 0x80:
        size[0] = at[0]
        at += 1
    else:
        at = read_varint(at, end, size)
        if at == NULL or at - begin > 5:
            return NULL
    return at if size[0] <= <uint64_t>(end - at) else NULL


cdef inline const uint8_t* skip_plain(
    const uint8_t* at, const uint8_t* end, uint32_t wire, uint64_t* value
) noexcept nogil:
    """Past the value of a field that is neither BYTES nor a group."""
    if wire == VARINT:
        return read_varint(at, end, value)
    if wire == FIXED64:
        return at + 8 if end - at >= 8 else NULL
    if wire == FIXED32:
        return at + 4 if end - at >= 4 else NULL
    return NULL


cdef inline const uint8_t* skip_group(const uint8_t* at, const uint8_t* end, uint32_t number) noexcept nogil:
    """Past the group `number`, whose first tag has been read."""
    cdef uint32_t[MAX_GROUPS] open_groups
    cdef uint32_t tag = 0
    cdef uint64_t value = 0
    cdef int level = 1
    open_groups[0] = number
    while level:
        at = read_tag(at, end, &tag)
        if at == NULL:
            return NULL
        if tag & 7 == GROUP:
            if level == MAX_GROUPS:
                return NULL
            open_groups[level] = tag >> 3
            level += 1
        elif tag & 7 == END_GROUP:
            level -= 1
            if open_groups[level] != tag >> 3:
                return NULL
        elif tag & 7 == BYTES:
            at = read_size(at, end, &value)
            if at == NULL:
                return NULL
            at += value
        else:
            at = skip_plain(at, end, tag & 7, &value)
            if at == NULL:
                return NULL
    return at


cdef inline int read_field(const uint8_t* at, const uint8_t* end, Field* field) noexcept nogil:
    """Read the field at `at` (before `end`). Returns -1 when it is malformed or doesn't fit."""
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    field.start = at
    at = read_tag(at, end, &tag)
    if at == NULL or tag < 8:
        return -1
    field.number = tag >> 3
    field.wire = tag & 7
    field.sized = field.body = at
    if field.wire == BYTES:
        at = read_size(at, end, &size)
        if at == NULL:
            return -1
        field.body = at
        field.after = at + size
        return 0
    if field.wire == GROUP:
        field.after = skip_group(at, end, field.number)
    else:
        field.after = skip_plain(at, end, field.wire, &field.value)
    return 0 if field.after != NULL else -1


cdef inline size_t varint_size(uint64_t value) noexcept nogil:
    cdef size_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline uint8_t* write_varint(uint8_t* at, uint64_t value) noexcept nogil:
    """Write `value` at `at`, where there is room for it (up to 10 bytes); returns the byte behind it."""
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t>value
    return at + 1
