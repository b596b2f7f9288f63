"""The explicit randomness of a trace: `rv` in the `ot` member of a span's W3C tracestate."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

cdef enum:
    NO_RANDOMNESS = 0x0100000000000000    # one more than 56 bits hold


cdef inline const uint8_t *skip_varint(const uint8_t *at, const uint8_t *end, uint64_t *value) noexcept nogil:
    """Past the varint, or NULL when it is cut short or longer than ten bytes."""
    cdef uint64_t result = 0
    cdef int shift = 0
    while at < end and shift < 70:
        result |= <uint64_t>(at[0] & 0x7F) << (shift if shift < 64 else 63)
        at += 1
        if (at - 1)[0] < 0x80:
            value[0] = result
            return at
        shift += 7
    return NULL


cdef inline uint64_t randomness_of_span(const uint8_t *at, uint64_t length) noexcept nogil:
    """`rv` of a `Span` message body, or NO_RANDOMNESS. The last of repeated tracestates counts, as in protobuf.

    A span that holds a group, which no OTLP schema has, gives none.
    """
    cdef const uint8_t *end = at + length
    cdef const uint8_t *state = NULL
    cdef uint64_t tag = 0, value = 0, state_length = 0
    while at < end:
        at = skip_varint(at, end, &tag)
        if at == NULL:
            return NO_RANDOMNESS
        if tag & 7 == 0:
            at = skip_varint(at, end, &value)
            if at == NULL:
                return NO_RANDOMNESS
        elif tag & 7 == 2:
            at = skip_varint(at, end, &value)
            if at == NULL or value > <uint64_t>(end - at):
                return NO_RANDOMNESS
            if tag == 26:    # Span.trace_state
                state = at
                state_length = value
            at += value
        elif tag & 7 == 1:
            if end - at < 8:
                return NO_RANDOMNESS
            at += 8
        elif tag & 7 == 5:
            if end - at < 4:
                return NO_RANDOMNESS
            at += 4
        else:
            return NO_RANDOMNESS
    return NO_RANDOMNESS if state == NULL else randomness_of_state(state, state + state_length)


cdef inline uint64_t randomness_of_state(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """`rv` of a tracestate: the sub-key `rv` of the first member `ot`, exactly 14 lowercase hex digits."""
    cdef const uint8_t *stop
    while at < end:
        while at < end and (at[0] == 32 or at[0] == 9):
            at += 1
        stop = at
        while stop < end and stop[0] != 44:    # ,
            stop += 1
        if stop - at > 3 and memcmp(at, b"ot=", 3) == 0:
            return randomness_of_member(at + 3, stop)
        at = stop + 1
    return NO_RANDOMNESS


cdef inline uint64_t randomness_of_member(const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef const uint8_t *stop
    cdef uint64_t value
    while end > at and ((end - 1)[0] == 32 or (end - 1)[0] == 9):
        end -= 1
    while at < end:
        stop = at
        while stop < end and stop[0] != 59:    # ;
            stop += 1
        if stop - at >= 3 and memcmp(at, b"rv:", 3) == 0:
            if stop - at != 17:
                return NO_RANDOMNESS
            value = 0
            at += 3
            while at < stop:
                if 48 <= at[0] <= 57:
                    value = value * 16 + (at[0] - 48)
                elif 97 <= at[0] <= 102:
                    value = value * 16 + (at[0] - 87)
                else:
                    return NO_RANDOMNESS
                at += 1
            return value
        at = stop + 1
    return NO_RANDOMNESS
