"""Text on the wire: whether it is UTF-8, how many characters it has, its seeded hash, whether it is an IPv4 address."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    static inline uint64_t pii_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t pii_mix(uint64_t a, uint64_t b) noexcept nogil


cdef inline uint64_t word_at(const uint8_t* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline uint64_t half_at(const uint8_t* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint64_t text_hash(const uint8_t* at, size_t size, uint64_t seed) noexcept nogil:
    """64 bits under a secret seed, by folded 128-bit products, 16 bytes a step; reads nothing outside of the text.

    Both factors hold some of the seed: a text that made one of them zero would hash alike whatever else is in it.
    """
    cdef uint64_t h = seed, a = 0, b = 0, other = (seed ^ <uint64_t>0xA0761D6478BD642F) * <uint64_t>0x9E3779B97F4A7C15
    cdef size_t left = size
    while left > 16:
        h = pii_mix(word_at(at) ^ other, word_at(at + 8) ^ h)
        at += 16
        left -= 16
    if left >= 8:
        a = word_at(at)
        b = word_at(at + left - 8)
    elif left >= 4:
        a = half_at(at)
        b = half_at(at + left - 4)
    elif left:
        a = <uint64_t>at[0] << 16 | <uint64_t>at[left >> 1] << 8 | at[left - 1]
    return pii_mix(<uint64_t>0xE7037ED1A0B428DB ^ size, pii_mix(a ^ other, b ^ h))


cdef inline bint same_text(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil:
    """Whether two texts of one size are equal; quicker than a call for the few bytes of a key."""
    cdef size_t i = 0
    if size >= 8:
        while i + 8 < size:
            if word_at(a + i) != word_at(b + i):
                return False
            i += 8
        return word_at(a + size - 8) == word_at(b + size - 8)
    if size >= 4:
        return half_at(a) == half_at(b) and half_at(a + size - 4) == half_at(b + size - 4)
    return size == 0 or (a[0] == b[0] and a[size >> 1] == b[size >> 1] and a[size - 1] == b[size - 1])


cdef inline bint is_ascii(const uint8_t* at, size_t size) noexcept nogil:
    """Words that overlap at the end; never reads outside of the text."""
    cdef uint64_t high = 0
    cdef size_t i = 0
    if size >= 8:
        while i + 8 < size:
            high |= word_at(at + i)
            i += 8
        high |= word_at(at + size - 8)
    elif size >= 4:
        high = half_at(at) | half_at(at + size - 4)
    elif size:
        high = at[0] | at[size >> 1] | at[size - 1]
    return (high & <uint64_t>0x8080808080808080) == 0


cdef inline bint is_utf8(const uint8_t* at, size_t size) noexcept nogil:
    """As protobuf demands it: no surrogates, no overlong forms, nothing above U+10FFFF (Unicode 15, table 3-7)."""
    cdef const uint8_t* end = at + size
    cdef uint8_t lead, low, high
    cdef int more, i
    if is_ascii(at, size):
        return True
    while at < end:
        lead = at[0]
        at += 1
        if lead < 0x80:
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if end - at < more or at[0] < low or at[0] > high:
            return False
        for i in range(1, more):
            if at[i] & 0xC0 != 0x80:
                return False
        at += more
    return True


cdef inline uint64_t characters(const uint8_t* at, size_t size) noexcept nogil:
    """Code points of UTF-8 text."""
    cdef uint64_t count = 0
    cdef size_t i
    for i in range(size):
        count += (at[i] & 0xC0) != 0x80
    return count


cdef inline size_t ipv4_prefix(const uint8_t* at, size_t size) noexcept nogil:
    """Bytes of `a.b.` when the text is an IPv4 address `a.b.c.d` and nothing else, or 0."""
    cdef size_t i, second = 0
    cdef int part = 0, digits = 0, value = 0
    if size < 7 or size > 15:
        return 0
    for i in range(size):
        if c'0' <= at[i] <= c'9':
            value = value * 10 + at[i] - c'0'
            digits += 1
            if value > 255 or digits > 3:
                return 0
        elif at[i] == c'.' and digits and part < 3:
            part += 1
            digits = value = 0
            if part == 2:
                second = i + 1
        else:
            return 0
    return second if part == 3 and digits else 0


cdef inline bint is_shape(const uint8_t* at, size_t size) noexcept nogil:
    """Whether the text is a tensor's shape: numbers of up to 9 digits and what stands between them."""
    cdef size_t i
    cdef int digits = 0
    for i in range(size):
        if c'0' <= at[i] <= c'9':
            digits += 1
            if digits > 9:
                return False
            continue
        digits = 0
        if at[i] != c',' and at[i] != c' ' and at[i] != c'[' and at[i] != c']' and at[i] != c'(' and at[i] != c')' \
                and at[i] != c'x' and at[i] != c'*' and at[i] != c'?':
            return False
    return True
