"""Protobuf's wire format, read with a bounds check before every byte. Nothing here needs the GIL.

Every reader takes a cursor and the end of what it may read, and returns the advanced cursor, or NULL where the bytes
are malformed. The limits are those of upb, protobuf's C parser: varints of at most 10 bytes (bits beyond 64 are
dropped), tags of at most 5 bytes and 32 bits, lengths of at most 5 bytes, 100 levels of messages and groups together.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    MAX_LEVELS = 100    # messages and groups inside one another, the outermost message not counted


cdef inline uint64_t load_le64(const uint8_t* p) noexcept nogil:
    return (
        <uint64_t>p[0] | <uint64_t>p[1] << 8 | <uint64_t>p[2] << 16 | <uint64_t>p[3] << 24
        | <uint64_t>p[4] << 32 | <uint64_t>p[5] << 40 | <uint64_t>p[6] << 48 | <uint64_t>p[7] << 56
    )


cdef inline uint64_t load_be64(const uint8_t* p) noexcept nogil:
    return (
        <uint64_t>p[7] | <uint64_t>p[6] << 8 | <uint64_t>p[5] << 16 | <uint64_t>p[4] << 24
        | <uint64_t>p[3] << 32 | <uint64_t>p[2] << 40 | <uint64_t>p[1] << 48 | <uint64_t>p[0] << 56
    )


cdef inline uint32_t load_le32(const uint8_t* p) noexcept nogil:
    return <uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24


cdef inline const uint8_t* read_varint(const uint8_t* p, const uint8_t* end, uint64_t* value) noexcept nogil:
    cdef uint64_t byte, result = 0
    cdef int shift = 0
    if p < end and p[0] < 0x80:
        value[0] = p[0]
        return p + 1
    while p < end and shift < 70:
        byte = p[0]
        p += 1
        result |= (byte & 0x7f) << shift
        if byte < 0x80:
            value[0] = result
            return p
        shift += 7
    return NULL


cdef inline const uint8_t* read_any_tag(const uint8_t* p, const uint8_t* end, uint32_t* tag) noexcept nogil:
    """A tag whose field number may be 0, which upb lets pass inside of groups that it skips."""
    cdef uint64_t byte, result = 0
    cdef int shift = 0
    while p < end and shift < 35:
        byte = p[0]
        p += 1
        result |= (byte & 0x7f) << shift
        if byte < 0x80:
            if result > <uint64_t>0xffffffff:
                return NULL
            tag[0] = <uint32_t>result
            return p
        shift += 7
    return NULL


cdef inline const uint8_t* read_tag(const uint8_t* p, const uint8_t* end, uint32_t* tag) noexcept nogil:
    if p < end and p[0] < 0x80:
        tag[0] = p[0]
        return p + 1 if p[0] >= 8 else NULL
    p = read_any_tag(p, end, tag)
    return p if p != NULL and tag[0] >= 8 else NULL


cdef inline const uint8_t* read_size(const uint8_t* p, const uint8_t* end, uint64_t* size) noexcept nogil:
    """The length of what follows, which is known to lie before `end`."""
    cdef uint64_t byte, result
    cdef int shift = 7
    if p >= end:
        return NULL
    result = p[0]
    p += 1
    if result > 0x7f:
        result &= 0x7f
        while True:
            if p >= end or shift > 28:
                return NULL
            byte = p[0]
            p += 1
            result |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
    if result > <uint64_t>(end - p):
        return NULL
    size[0] = result
    return p


cdef inline const uint8_t* skip_plain(const uint8_t* p, const uint8_t* end, uint32_t tag) noexcept nogil:
    """Past the value of a field that is not a group."""
    cdef uint64_t value = 0
    cdef uint32_t wire_type = tag & 7
    if wire_type == 2:
        p = read_size(p, end, &value)
        return p + value if p != NULL else NULL
    if wire_type == 0:
        return read_varint(p, end, &value)
    if wire_type == 1:
        return p + 8 if end - p >= 8 else NULL
    if wire_type == 5:
        return p + 4 if end - p >= 4 else NULL
    return NULL


cdef inline const uint8_t* skip_group(
    const uint8_t* p, const uint8_t* end, uint32_t tag, int levels
) noexcept nogil:
    """Past the group that `tag` has begun, with at most `levels` groups inside one another, itself included."""
    cdef uint32_t[MAX_LEVELS] begun
    cdef uint32_t inner = 0
    cdef int level = 1
    if levels < 1:
        return NULL
    begun[0] = tag
    while level:
        p = read_any_tag(p, end, &inner)
        if p == NULL:
            return NULL
        if inner & 7 == 3:
            if level >= levels or level >= MAX_LEVELS:
                return NULL
            begun[level] = inner
            level += 1
        elif inner & 7 == 4:
            level -= 1
            if inner != begun[level] + 1:
                return NULL
        else:
            p = skip_plain(p, end, inner)
            if p == NULL:
                return NULL
    return p


cdef inline const uint8_t* skip_value(
    const uint8_t* p, const uint8_t* end, uint32_t tag, int levels
) noexcept nogil:
    """Past the value of any field; `levels` is how many more levels of groups may begin here."""
    if tag & 7 == 3:
        return skip_group(p, end, tag, levels)
    return skip_plain(p, end, tag)
