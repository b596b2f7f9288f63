"""The members of a JSON object in a text, without decoding them: where keys and values are, and whether it is one.

Brackets inside of values are counted and not matched by kind, numbers and words aren't looked at: every JSON object is
found to be one, and little else is.
"""

from libc.stdint cimport uint8_t

from exporters.loki.any_value cimport Span
from exporters.loki.text cimport plain_bytes


cdef inline const uint8_t* after_space(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while at < end and (at[0] == 0x20 or at[0] == 0x0A or at[0] == 0x0D or at[0] == 0x09):
        at += 1
    return at


cdef inline const uint8_t* after_string(const uint8_t* at, const uint8_t* end, bint* escaped) noexcept nogil:
    """Behind the closing quote of the string whose opening quote is at `at`; NULL without one."""
    at += 1
    while True:
        at += plain_bytes(at, end - at)
        if at >= end:
            return NULL
        if at[0] == 0x22:
            return at + 1
        if at[0] != 0x5C or end - at < 2:
            return NULL
        escaped[0] = True
        at += 2


cdef inline const uint8_t* after_value(const uint8_t* at, const uint8_t* end, bint* escaped) noexcept nogil:
    cdef size_t depth = 0
    cdef const uint8_t* begin = at
    while at < end:
        if at[0] == 0x22:
            at = after_string(at, end, escaped)
            if at == NULL or depth == 0:
                return at
        elif at[0] == c"{" or at[0] == c"[":
            depth += 1
            at += 1
        elif at[0] == c"}" or at[0] == c"]":
            if depth == 0:
                return at if at > begin else NULL
            depth -= 1
            at += 1
            if depth == 0:
                return at
        elif depth == 0 and (at[0] == c"," or at[0] <= 0x20):
            return at if at > begin else NULL
        else:
            at += 1
    return NULL


cdef inline const uint8_t* open_object(Span text) noexcept nogil:
    """Behind the brace that opens the object, or NULL where the text begins with something else."""
    cdef const uint8_t* end = text.at + text.size
    cdef const uint8_t* at = after_space(text.at, end)
    return at + 1 if at < end and at[0] == c"{" else NULL


cdef inline const uint8_t* next_member(
    const uint8_t* at, const uint8_t* end, Span* key, Span* text, bint* last
) noexcept nogil:
    """Behind the member at `at`: its comma, or, with `last`, the object and all there is. NULL where it isn't one.

    `text` is what stands between the quotes of a string that has no escapes, else it is empty.
    """
    cdef bint escaped = False
    cdef const uint8_t* value
    at = after_space(at, end)
    if at >= end or at[0] != 0x22:
        return NULL
    key.at = at + 1
    at = after_string(at, end, &escaped)
    if at == NULL:
        return NULL
    key.size = at - 1 - key.at
    at = after_space(at, end)
    if at >= end or at[0] != c":":
        return NULL
    at = after_space(at + 1, end)
    value = at
    escaped = False
    at = after_value(at, end, &escaped)
    if at == NULL:
        return NULL
    text.at = value + 1
    text.size = at - value - 2 if value[0] == 0x22 and not escaped else 0
    at = after_space(at, end)
    if at < end and at[0] == c",":
        last[0] = False
        return at + 1
    if at < end and at[0] == c"}" and after_space(at + 1, end) == end:
        last[0] = True
        return end
    return NULL
