"""One field at a time of protobuf bytes with all its borders, for those who copy slices; and varints written."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.varint cimport (
    MAX_LEVELS, load_le32, load_le64, read_size, read_tag, read_varint, skip_group,
)

cdef enum:
    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    GROUP = 3
    FIXED32 = 5


cdef struct Field:
    uint32_t number
    uint32_t wire
    uint64_t value           # of VARINT, FIXED32 and FIXED64; the length of BYTES
    const uint8_t* start     # first byte of the tag
    const uint8_t* body      # first byte of the value (behind the length of BYTES)
    const uint8_t* after     # first byte behind the field


cdef inline int read_field(const uint8_t* at, const uint8_t* end, Field* field) noexcept nogil:
    """Read the field at `at` (before `end`). Returns -1 when it is malformed or doesn't fit."""
    cdef uint32_t tag = 0
    field.start = at
    at = read_tag(at, end, &tag)
    if at == NULL:
        return -1
    field.number = tag >> 3
    field.wire = tag & 7
    field.body = at
    if field.wire == BYTES:
        at = read_size(at, end, &field.value)
        if at == NULL:
            return -1
        field.body = at
        field.after = at + field.value
        return 0
    if field.wire == VARINT:
        field.after = read_varint(at, end, &field.value)
    elif field.wire == FIXED64:
        if end - at < 8:
            return -1
        field.value = load_le64(at)
        field.after = at + 8
    elif field.wire == FIXED32:
        if end - at < 4:
            return -1
        field.value = load_le32(at)
        field.after = at + 4
    elif field.wire == GROUP:
        field.value = 0
        field.after = skip_group(at, end, tag, MAX_LEVELS)
    else:
        return -1
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
