"""The `ot` member of a W3C tracestate: reading it strictly, and writing the sampling threshold `th` into it.

W3C Trace Context, "tracestate header"; OpenTelemetry, "TraceState handling" and "TraceState: probability sampling".
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MAX_MEMBERS = 32
    MAX_VALUE = 256          # characters of one member's value, the `ot` list included
    STATE_GROWTH = 32        # `write_threshold` makes a tracestate longer by this much at most


cdef struct Member:
    const uint8_t* at
    size_t key               # length of the key
    size_t size              # length of `key=value`


cdef inline bint is_key_rest(uint8_t c) noexcept nogil:
    return (c >= c'a' and c <= c'z') or (c >= c'0' and c <= c'9') or c == c'_' or c == c'-' or c == c'*' or c == c'/'


cdef inline bint is_key(const uint8_t* at, size_t size) noexcept nogil:
    """`simple-key` or `tenant@system`."""
    cdef size_t i, tenant = size
    if size == 0 or size > 256:
        return False
    for i in range(size):
        if at[i] == c'@':
            if tenant != size:
                return False
            tenant = i
        elif not is_key_rest(at[i]):
            return False
    if tenant == size:
        return at[0] >= c'a' and at[0] <= c'z'
    if tenant == 0 or tenant > 241 or size - tenant - 1 == 0 or size - tenant - 1 > 14:
        return False
    return ((at[0] >= c'a' and at[0] <= c'z') or (at[0] >= c'0' and at[0] <= c'9')) and (
        at[tenant + 1] >= c'a' and at[tenant + 1] <= c'z')


cdef inline bint is_value(const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t i
    if size == 0 or size > MAX_VALUE:
        return False
    for i in range(size):
        if at[i] < 0x20 or at[i] > 0x7E or at[i] == c',' or at[i] == c'=':
            return False
    return at[size - 1] != 0x20


cdef inline int split_members(const uint8_t* at, size_t size, Member* members, int* own) noexcept nogil:
    """Split a tracestate; `own` becomes the place of `ot`, or -1. Returns the number of members, -1: doesn't parse."""
    cdef const uint8_t* end = at + size
    cdef const uint8_t* comma
    cdef const uint8_t* stop
    cdef size_t key
    cdef int count = 0
    own[0] = -1
    while at < end:
        comma = at
        while comma < end and comma[0] != c',':
            comma += 1
        stop = comma
        while at < stop and (at[0] == 0x20 or at[0] == 0x09):
            at += 1
        while stop > at and ((stop - 1)[0] == 0x20 or (stop - 1)[0] == 0x09):
            stop -= 1
        if stop > at:
            key = 0
            while at + key < stop and at[key] != c'=':
                key += 1
            if at + key == stop or not is_key(at, key) or not is_value(at + key + 1, stop - at - key - 1):
                return -1
            if count == MAX_MEMBERS:
                return -1
            if key == 2 and at[0] == c'o' and at[1] == c't':
                if own[0] >= 0:
                    return -1
                own[0] = count
            members[count].at = at
            members[count].key = key
            members[count].size = stop - at
            count += 1
        at = comma + 1
    return count


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if c >= c'0' and c <= c'9':
        return c - c'0'
    if c >= c'a' and c <= c'f':
        return c - c'a' + 10
    if c >= c'A' and c <= c'F':
        return c - c'A' + 10
    return -1


cdef inline bint read_threshold(const uint8_t* at, size_t size, uint64_t* threshold) noexcept nogil:
    """The 56 bits of a `th` value of 1 to 14 digits; False when it is malformed."""
    cdef size_t i
    cdef int digit
    cdef uint64_t value = 0
    if size == 0 or size > 14:
        return False
    for i in range(size):
        digit = hex_digit(at[i])
        if digit < 0:
            return False
        value = value << 4 | <uint64_t>digit
    threshold[0] = value << 4 * (14 - size)
    return True


cdef inline size_t print_threshold(uint64_t threshold, uint8_t* out) noexcept nogil:
    """`th:` and the digits of a 56-bit threshold without trailing zeros (`0` for 100%): 4 to 17 characters."""
    cdef const char* digits = b"0123456789abcdef"
    cdef size_t size = 3
    cdef int shift = 52
    out[0] = c't'
    out[1] = c'h'
    out[2] = c':'
    while True:
        out[size] = <uint8_t>digits[threshold >> shift & 15]
        size += 1
        if shift == 0 or threshold & ((<uint64_t>1 << shift) - 1) == 0:
            return size
        shift -= 4


cdef inline bint write_threshold(
    const uint8_t* state, size_t state_size, uint64_t threshold, bint known, uint8_t* out, size_t* size
) noexcept nogil:
    """Write the tracestate with `th` set to `threshold`, or erased when it isn't `known`, to `out`.

    `out` has room for `state_size + STATE_GROWTH` bytes. Returns False when the tracestate must stay as it is: it
    doesn't parse, its own `th` is as large or larger, there is nothing to erase, or `ot` would grow too long.
    """
    cdef Member[MAX_MEMBERS] members
    cdef int own = 0, count = split_members(state, state_size, members, &own), i, others = 0
    cdef const uint8_t* at
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef size_t key, j, used = 3
    cdef uint64_t incoming = 0
    cdef bint erased = False
    if count < 0:
        return False
    out[0] = c'o'
    out[1] = c't'
    out[2] = c'='
    if known:
        used += print_threshold(threshold, out + used)
    if own >= 0:
        at = members[own].at + 3
        end = members[own].at + members[own].size
        while True:
            stop = at
            while stop < end and stop[0] != c';':
                stop += 1
            key = 0
            while at + key < stop and at[key] != c':':
                if not ((at[key] >= c'a' and at[key] <= c'z') or (key and at[key] >= c'0' and at[key] <= c'9')):
                    return False
                key += 1
            if key == 0 or at + key == stop:
                return False
            for j in range(key + 1, <size_t>(stop - at)):
                if not (is_key_rest(at[j]) or at[j] == c'.' or (at[j] >= c'A' and at[j] <= c'Z')) or (
                        at[j] == c'*' or at[j] == c'/'):
                    return False
            if key == 2 and at[0] == c't' and at[1] == c'h':
                if erased:
                    return False
                erased = True
                if known and read_threshold(at + 3, stop - at - 3, &incoming) and incoming >= threshold:
                    known = False
                    used = 0     # stays; but the rest of the list must still parse
            elif used:
                if used > 3:
                    out[used] = c';'
                    used += 1
                memcpy(out + used, at, stop - at)
                used += stop - at
            if stop == end:
                break
            at = stop + 1
    if used == 0 or used - 3 > MAX_VALUE or (not known and not erased):
        return False
    if used == 3:
        used = 0
    for i in range(count):
        if i == own:
            continue
        others += 1
        if used and own < 0 and others == MAX_MEMBERS:
            break                # W3C: a new member pushes the last one out
        if used:
            out[used] = c','
            used += 1
        memcpy(out + used, members[i].at, members[i].size)
        used += members[i].size
    size[0] = used
    return True
