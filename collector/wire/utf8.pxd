"""UTF-8 as protobuf demands it of `string` fields: no surrogates, no overlong forms, nothing above U+10FFFF."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    WORD = 8


cdef inline uint64_t word_at(const uint8_t* p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, WORD)
    return word


cdef inline bint is_ascii(const uint8_t* p, size_t size) noexcept nogil:
    """Sixteen bytes a step, the last step overlapping the one before; never reads outside of the text."""
    cdef const uint8_t* last
    cdef uint64_t high = 0
    cdef uint32_t head, tail
    if size >= 16:
        last = p + size - 16
        while p < last:
            high |= word_at(p) | word_at(p + WORD)
            p += 16
        high |= word_at(last) | word_at(last + WORD)
    elif size >= WORD:
        high = word_at(p) | word_at(p + size - WORD)
    elif size >= 4:
        memcpy(&head, p, 4)
        memcpy(&tail, p + size - 4, 4)
        high = head | tail
        return (high & <uint64_t>0x80808080) == 0
    else:
        if size:
            high = p[0] | p[size >> 1] | p[size - 1]
        return high < 0x80
    return (high & <uint64_t>0x8080808080808080) == 0


cdef inline bint is_utf8_tail(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Unicode 15, table 3-7: which bytes may follow which."""
    cdef uint8_t lead, low, high
    cdef int more
    while p < end:
        lead = p[0]
        p += 1
        if lead < 0x80:
            while end - p >= WORD and word_at(p) & <uint64_t>0x8080808080808080 == 0:
                p += WORD
            continue
        low = 0x80
        high = 0xbf
        if 0xc2 <= lead <= 0xdf:
            more = 1
        elif 0xe0 <= lead <= 0xef:
            more = 2
            if lead == 0xe0:
                low = 0xa0
            elif lead == 0xed:
                high = 0x9f
        elif 0xf0 <= lead <= 0xf4:
            more = 3
            if lead == 0xf0:
                low = 0x90
            elif lead == 0xf4:
                high = 0x8f
        else:
            return False
        if end - p < more or p[0] < low or p[0] > high:
            return False
        if more > 1 and p[1] & 0xc0 != 0x80:
            return False
        if more > 2 and p[2] & 0xc0 != 0x80:
            return False
        p += more
    return True


cdef inline bint is_utf8(const uint8_t* p, size_t size) noexcept nogil:
    return is_ascii(p, size) or is_utf8_tail(p, p + size)
