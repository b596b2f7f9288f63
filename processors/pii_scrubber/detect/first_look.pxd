"""The first look at a short value: eight bytes at a time, without a branch for each of them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    SHORTEST = 6          # a@b.co, 2001::1
    SHORT = 20            # a shorter value holds no token but one behind `=` or `:`
    FEWEST_DIGITS = 4     # 1.1.1.1
    PHONE_DIGITS = 7      # of a phone number, and of every IBAN that is so short

cdef extern from *:
    """
    #define PII_EACH(byte) (0x0101010101010101ULL * (byte))
    """
    uint64_t PII_EACH(int byte) noexcept nogil


cdef inline uint64_t equal_to(uint64_t word, int byte) noexcept nogil:
    """The high bit of every byte that is `byte`, and perhaps of some behind one; 0 when there is none."""
    cdef uint64_t difference = word ^ PII_EACH(byte)
    return (difference - PII_EACH(1)) & ~difference & PII_EACH(0x80)


cdef inline uint64_t signs(uint64_t word) noexcept nogil:
    """Not 0 where a byte of the word opens the way to a machine that needs no digits: `@`, `%`, `:` or `=`."""
    return equal_to(word, c"@") | equal_to(word, c"%") | equal_to(word, c":") | equal_to(word, c"=")


cdef inline uint32_t count_digits(uint64_t word) noexcept nogil:
    cdef uint64_t offset = word ^ PII_EACH(0x30)
    cdef uint64_t others = ((offset & PII_EACH(0x7F)) + PII_EACH(0x76)) | offset
    return <uint32_t>((((~others & PII_EACH(0x80)) >> 7) * PII_EACH(1)) >> 56)


cdef inline bint worth_a_scan(const uint8_t *text, Py_ssize_t size) noexcept nogil:
    """Whether a value of fewer than SHORT bytes may hold anything. Where words overlap, digits count twice."""
    cdef uint64_t first = 0, last = 0, middle = 0
    cdef uint32_t digits, dots = 0
    cdef Py_ssize_t i
    if size < SHORTEST:
        return False
    if size < 8:
        memcpy(&first, text, 4)
        memcpy(&last, text + size - 4, 4)
        first |= last << 32
        last = 0
    else:
        memcpy(&first, text, 8)
        memcpy(&last, text + size - 8, 8)
        if size > 16:
            memcpy(&middle, text + 8, 8)
    if signs(first) | signs(last) | signs(middle):
        return True
    digits = count_digits(first) + count_digits(last) + count_digits(middle)
    if digits < FEWEST_DIGITS:
        return False
    if digits >= PHONE_DIGITS:
        return True
    for i in range(size):
        dots += text[i] == c"."
    return dots >= 3
