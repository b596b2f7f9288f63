"""The last occurrence of a bytes field in two messages at once, looked for without the GIL.

Where a field begins is known when the length of the one before it has been read: the processor waits for that most of
the time, and for two messages side by side it waits no longer than for one.
"""

from libc.stdint cimport uint8_t

from collector.wire.fields cimport BYTES, FIXED64, Field, read_field

cdef enum:
    ROOM = 129               # longest field with one byte of tag and one of length


cdef struct Search:
    const uint8_t* at
    const uint8_t* end
    bint roomy               # ROOM more bytes than the message may be read
    uint8_t tag              # of the field looked for, whose number is below 16
    const uint8_t* found     # NULL and 0: none
    size_t size


cdef inline bint is_short(const uint8_t* at) noexcept nogil:
    """Whether a bytes field with one byte of tag and one of length begins here, as nearly all fields do."""
    return at[0] & 0x87 == BYTES and at[0] > 7 and at[1] < 0x80


cdef inline void pass_short(Search* search) noexcept nogil:
    cdef size_t size = search.at[1]
    if search.at[0] == search.tag:
        search.found = search.at + 2
        search.size = size
    search.at += 2 + size


cdef inline int pass_field(Search* search, bint roomy) noexcept nogil:
    cdef Field field
    if roomy:
        if is_short(search.at):
            pass_short(search)
            return 0
        if search.at[0] & 0x87 == FIXED64 and search.at[0] > 7:
            search.at += 9
            return 0
    if read_field(search.at, search.end, &field) < 0:
        return -1
    search.at = field.after
    if field.number == search.tag >> 3 and field.wire == BYTES:
        search.found = field.body
        search.size = field.value
    return 0


cdef inline int find_last(Search* one, Search* two) noexcept nogil:
    """Returns -1 when a message is malformed or its last field ends behind it."""
    if one.roomy and two.roomy:
        while one.at < one.end and two.at < two.end:
            if is_short(one.at) and is_short(two.at):
                pass_short(one)
                pass_short(two)
            elif pass_field(one, True) < 0 or pass_field(two, True) < 0:
                return -1
        while one.at < one.end:
            if pass_field(one, True) < 0:
                return -1
        while two.at < two.end:
            if pass_field(two, True) < 0:
                return -1
    else:
        while one.at < one.end:
            if pass_field(one, False) < 0:
                return -1
        while two.at < two.end:
            if pass_field(two, False) < 0:
                return -1
    # Short fields are passed without a look at the end of their message.
    return 0 if one.at == one.end and two.at == two.end else -1
