"""Writes a `KeyValue` as protobuf does: fields by their numbers, defaults left out, what is unknown too."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from collector.wire.buffer cimport Buffer, close_length, open_length, put, put_byte, put_varint
from collector.wire.fields cimport BYTES, FIXED64, VARINT, Field, read_field
from collector.wire.schema cimport CORRUPT, NO_MEMORY, SOUND

cdef enum:
    KEY_INDEX = 3            # numbers of the profiles' string tables, in a `KeyValue`
    STRING_INDEX = 8         # and in an `AnyValue`


cdef inline int put_index(Buffer* out, uint32_t number, uint64_t value) noexcept nogil:
    """An int32, which goes over the wire as one of 64 bits."""
    cdef int64_t wide = <int32_t>value
    if put_varint(out, number << 3) < 0 or put_varint(out, <uint64_t>wide) < 0:
        return NO_MEMORY
    return SOUND


cdef int put_elements(
    Buffer* out, const uint8_t* p, const uint8_t* end, uint32_t member, int depth
) noexcept nogil:
    """What an ArrayValue or KeyValueList holds."""
    cdef Field field
    cdef size_t place
    cdef int fault
    while p < end:
        if read_field(p, end, &field) < 0:
            return CORRUPT
        p = field.after
        if field.number != 1 or field.wire != BYTES:
            continue
        if open_length(out, 0x0a, &place) < 0:
            return NO_MEMORY
        if member == 5:
            fault = put_any_value(out, field.body, field.after, depth - 1)
        else:
            fault = put_key_value(out, field.body, field.after, depth - 1)
        if fault != SOUND:
            return fault
        if close_length(out, place) < 0:
            return NO_MEMORY
    return SOUND


cdef inline bint is_member(const Field* field) noexcept nogil:
    if field.wire == BYTES:
        return field.number == 1 or 5 <= field.number <= 7
    if field.wire == VARINT:
        return field.number == 2 or field.number == 3 or field.number == STRING_INDEX
    return field.wire == FIXED64 and field.number == 4


cdef int put_any_value(Buffer* out, const uint8_t* p, const uint8_t* end, int depth) noexcept nogil:
    """Of several members the last counts, and arrays and lists in a row merge."""
    cdef Field field, last
    cdef const uint8_t* run = end
    cdef size_t place
    cdef int fault
    memset(&last, 0, sizeof(Field))
    if depth <= 0:
        return CORRUPT
    while p < end:
        if read_field(p, end, &field) < 0:
            return CORRUPT
        p = field.after
        if is_member(&field):
            if field.number != last.number:
                run = field.start
            last = field
    if last.number == 0:
        return SOUND
    if last.number == 5 or last.number == 6:
        if open_length(out, last.number << 3 | BYTES, &place) < 0:
            return NO_MEMORY
        while run < end:
            if read_field(run, end, &field) < 0:
                return CORRUPT
            run = field.after
            if field.number == last.number and field.wire == BYTES:
                fault = put_elements(out, field.body, field.after, last.number, depth - 1)
                if fault != SOUND:
                    return fault
        return NO_MEMORY if close_length(out, place) < 0 else SOUND
    if last.number == STRING_INDEX:
        return put_index(out, STRING_INDEX, last.value)
    if put_byte(out, <uint8_t>(last.number << 3 | last.wire)) < 0:
        return NO_MEMORY
    if last.wire == BYTES:
        if put_varint(out, last.value) < 0 or put(out, last.body, last.value) < 0:
            return NO_MEMORY
    elif last.wire == FIXED64:
        if put(out, last.body, 8) < 0:
            return NO_MEMORY
    elif put_varint(out, last.value != 0 if last.number == 2 else last.value) < 0:
        return NO_MEMORY
    return SOUND


cdef int put_merged(Buffer* out, const uint8_t* p, const uint8_t* end, int depth) noexcept nogil:
    """The value of a KeyValue that has several: joined they parse as their merger."""
    cdef Buffer joined
    cdef Field field
    cdef int fault = SOUND
    memset(&joined, 0, sizeof(Buffer))
    while p < end and fault == SOUND:
        if read_field(p, end, &field) < 0:
            fault = CORRUPT
            break
        p = field.after
        if field.number == 2 and field.wire == BYTES and put(&joined, field.body, field.value) < 0:
            fault = NO_MEMORY
    if fault == SOUND and joined.used:
        fault = put_any_value(out, joined.data, joined.data + joined.used, depth)
    free(joined.data)
    return fault


cdef int put_key_value(Buffer* out, const uint8_t* p, const uint8_t* end, int depth) noexcept nogil:
    """A `Fault`, or `SOUND`. No value may hold more than `depth` of them inside one another."""
    cdef const uint8_t* begin = p
    cdef Field field, key, value
    cdef uint64_t index = 0
    cdef size_t place
    cdef int values = 0, fault
    memset(&key, 0, sizeof(Field))
    value = key
    while p < end:
        if read_field(p, end, &field) < 0:
            return CORRUPT
        p = field.after
        if field.number == 1 and field.wire == BYTES:
            key = field
        elif field.number == 2 and field.wire == BYTES:
            value = field
            values += 1
        elif field.number == KEY_INDEX and field.wire == VARINT:
            index = field.value
    if key.value:
        if put_byte(out, 0x0a) < 0 or put_varint(out, key.value) < 0 or put(out, key.body, key.value) < 0:
            return NO_MEMORY
    if values:
        if open_length(out, 0x12, &place) < 0:
            return NO_MEMORY
        if values == 1:
            fault = put_any_value(out, value.body, value.after, depth)
        else:
            fault = put_merged(out, begin, end, depth)
        if fault != SOUND:
            return fault
        if close_length(out, place) < 0:
            return NO_MEMORY
    return put_index(out, KEY_INDEX, index) if <int32_t>index else SOUND
