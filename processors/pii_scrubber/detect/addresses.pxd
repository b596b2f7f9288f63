"""IPv4 and IPv6 addresses in text, and their masked forms.

An address is masked to its network and stays an address: /16 for IPv4 (`10.1.2.3` -> `10.1.0.0`), /48 for IPv6
(`2001:db8:1:2::3` -> `2001:db8:1::`), and the IPv4 part of a mapped one (`::ffff:10.1.0.0`). One that is masked
already, the loopback, the unspecified address and netmasks identify nobody and are no findings.

Four numbers with a name at `-` or `_` are a version where all are below 30: `name-1.2.3.4`, `1.2.3.4_amd64`. Those that
begin with 10, as private addresses do, need a name on both sides for that: `name-10.1.2.3.jar`.
"""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy

from processors.pii_scrubber.detect.classes cimport (
    ALNUM, DIGIT, HEX, LETTER, has, matches, peek, pii_class, starts_word,
)

cdef enum:
    LONGEST_IPV6 = 45
    LARGEST_OF_VERSION = 29
    PRIVATE = 10    # the first octet of 10.0.0.0/8


cdef inline Py_ssize_t read_quad(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, uint8_t *octets
) noexcept nogil:
    """Read four octets without leading zeros; the end, or -1."""
    cdef int part, value, digits
    for part in range(4):
        if part:
            if at >= size or text[at] != c".":
                return -1
            at += 1
        value = 0
        digits = 0
        while at < size and pii_class[text[at]] & DIGIT:
            if digits == 3 or (digits and value == 0):
                return -1
            value = value * 10 + text[at] - 48
            digits += 1
            at += 1
        if digits == 0 or value > 255:
            return -1
        octets[part] = <uint8_t>value
    return at


cdef inline bint after_version_word(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Whether a word makes the number at `at` a version: `version: 1.2.3.4`, `release-8.0.36.1`, `curl/7.1.2.3`."""
    cdef Py_ssize_t end = at, start, limit
    if at == 0:
        return False
    if text[at - 1] == c"/":
        # a product and its version; in a path the word has a slash before it, too
        start = at - 1
        limit = start - 32
        while start > 0 and start > limit and (pii_class[text[start - 1]] & ALNUM or text[start - 1] in b"-_."):
            start -= 1
        return start < at - 1 and peek(text, size, start - 1) != c"/" and has(text, size, at - 2, LETTER)
    limit = at - 5
    while end > 0 and end > limit and text[end - 1] in b" :=\"'-_":
        end -= 1
    if end == at:
        return False
    start = end
    limit = end - 12
    while start > 0 and start > limit and pii_class[text[start - 1]] & LETTER:
        start -= 1
    limit = end - start
    if limit == 7:
        return matches(text, size, start, b"version", 7) or matches(text, size, start, b"release", 7)
    if limit == 3:
        return matches(text, size, start, b"ver", 3) or matches(text, size, start, b"oid", 3)
    if limit == 5:
        return matches(text, size, start, b"build", 5)
    return limit == 8 and matches(text, size, start, b"firmware", 8)


cdef inline bint is_named_version(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end, const uint8_t *octets
) noexcept nogil:
    """Whether the octets in [at, end) are small ones that names at `-` or `_` make a version."""
    cdef int before = peek(text, size, at - 1), after = peek(text, size, end), i
    cdef bint behind = (before == c"-" or before == c"_") and has(text, size, at - 2, LETTER)
    cdef bint ahead = has(text, size, end + 1, LETTER) and (after == c"-" or after == c"_")
    for i in range(4):
        if octets[i] > LARGEST_OF_VERSION:
            return False
    if behind and at >= 3 and matches(text, size, at - 3, b"ip", 2) and not has(text, size, at - 4, ALNUM):
        return False
    if octets[0] == PRIVATE:
        return behind and (ahead or (after == c"." and has(text, size, end + 1, LETTER)))
    return behind or ahead or (after == c"_" and has(text, size, end + 1, DIGIT))


cdef inline Py_ssize_t ipv4_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The end of the IPv4 address that begins at `at`, or -1."""
    cdef uint8_t octets[4]
    cdef Py_ssize_t end
    cdef int after
    if not starts_word(text, at, ALNUM):
        return -1
    if at and text[at - 1] == c".":
        return -1
    end = read_quad(text, size, at, octets)
    if end < 0:
        return -1
    after = peek(text, size, end)
    if after >= 0 and pii_class[after] & ALNUM:
        return -1
    if after == c"." and has(text, size, end + 1, DIGIT):
        return -1
    if octets[0] == 0 or octets[0] == 127 or (octets[0] == 255 and octets[1] == 255):
        return -1
    if octets[2] == 0 and octets[3] == 0:
        return -1
    if is_named_version(text, size, at, end, octets) or after_version_word(text, size, at):
        return -1
    return end


cdef inline bint is_allocated(const uint16_t *groups) noexcept nogil:
    """Whether the address lies in space that has been given a use (IANA: IPv6 address space and special purposes)."""
    cdef uint16_t first = groups[0]
    if 0x2000 <= first <= 0x3FFF or 0xFC00 <= first <= 0xFDFF or 0xFE80 <= first <= 0xFEFF or first >= 0xFF00:
        return True
    if first == 0x64:
        return groups[1] == 0xFF9B
    return first == 0x5F00 or (first == 0x100 and groups[1] == 0)


cdef inline Py_ssize_t read_ipv6(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, uint16_t *groups, int *quad
) noexcept nogil:
    """Read an address in any form of RFC 4291, section 2.2; its end, or -1. `quad`: it ends in dotted decimals."""
    cdef int count = 0, gap = -1, digits, value, i
    cdef bint short_groups = True
    cdef Py_ssize_t start = at, end
    cdef uint8_t octets[4]
    quad[0] = 0
    if at + 1 < size and text[at] == c":" and text[at + 1] == c":":
        gap = 0
        at += 2
    while count < 8:
        value = 0
        digits = 0
        end = at
        while end < size and pii_class[text[end]] & HEX and digits < 5:
            value = value * 16 + ((text[end] & 15) + (9 if text[end] > 57 else 0))
            digits += 1
            end += 1
        if digits == 0 or digits == 5:
            break
        if end < size and text[end] == c"." and count <= 6:
            end = read_quad(text, size, at, octets)
            if end > 0:
                groups[count] = octets[0] << 8 | octets[1]
                groups[count + 1] = octets[2] << 8 | octets[3]
                count += 2
                quad[0] = 1
                at = end
                break
            end = at + digits
        groups[count] = <uint16_t>value
        count += 1
        short_groups = short_groups and digits == 2
        at = end
        if at < size and text[at] == c":" and count < 8:
            if at + 1 < size and text[at + 1] == c":":
                if gap >= 0:
                    return -1
                gap = count
                at += 2
            elif has(text, size, at + 1, HEX):
                at += 1
            else:
                break
        else:
            break
    if at < size and pii_class[text[at]] & ALNUM:
        return -1
    if at < size and text[at] == c":" and (has(text, size, at + 1, HEX) or peek(text, size, at + 1) == c":"):
        return -1
    if gap < 0:
        # eight pairs are a hardware address (EUI-64), not an IPv6 one
        return at if count == 8 and not short_groups else -1
    if count > 7 or at - start > LONGEST_IPV6:
        return -1
    for i in range(count - gap):
        groups[7 - i] = groups[count - 1 - i]
    for i in range(gap, 8 - (count - gap)):
        groups[i] = 0
    return at


cdef inline bint is_mapped(const uint16_t *groups) noexcept nogil:
    return not (groups[0] | groups[1] | groups[2] | groups[3] | groups[4]) and groups[5] == 0xFFFF


cdef inline Py_ssize_t ipv6_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The end of the IPv6 address that begins at `at`, or -1."""
    cdef uint16_t groups[8]
    cdef int quad = 0
    cdef Py_ssize_t end = read_ipv6(text, size, at, groups, &quad)
    if end < 0:
        return -1
    if is_mapped(groups):
        return end if groups[7] and (groups[6] >> 8) != 127 else -1
    if not is_allocated(groups):
        return -1
    if not (groups[3] | groups[4] | groups[5] | groups[6] | groups[7]):
        return -1
    return end


cdef inline int write_number(uint8_t *out, int value, int base) noexcept nogil:
    cdef const char *figures = "0123456789abcdef"
    cdef uint8_t digits[8]
    cdef int count = 0, i
    while True:
        digits[count] = <uint8_t>figures[value % base]
        count += 1
        value //= base
        if value == 0:
            break
    for i in range(count):
        out[i] = digits[count - 1 - i]
    return count


cdef inline int mask_ipv4(const uint8_t *text, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Write the /16 of the address that `text` is into `out` (16 bytes); how many bytes that took."""
    cdef uint8_t octets[4]
    cdef int length
    if read_quad(text, size, 0, octets) < 0:
        return 0
    length = write_number(out, octets[0], 10)
    out[length] = c"."
    length += 1
    length += write_number(out + length, octets[1], 10)
    memcpy(out + length, <const char *>b".0.0", 4)
    return length + 4


cdef inline int mask_ipv6(const uint8_t *text, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Write the /48 of the address that `text` is into `out` (32 bytes); how many bytes that took."""
    cdef uint16_t groups[8]
    cdef int quad = 0, length = 0, kept = 3, i
    if read_ipv6(text, size, 0, groups, &quad) < 0:
        return 0
    if is_mapped(groups):
        memcpy(out, <const char *>b"::ffff:", 7)
        length = 7 + write_number(out + 7, groups[6] >> 8, 10)
        out[length] = c"."
        length += 1
        length += write_number(out + length, groups[6] & 255, 10)
        memcpy(out + length, <const char *>b".0.0", 4)
        return length + 4
    while kept and groups[kept - 1] == 0:
        kept -= 1
    for i in range(kept):
        length += write_number(out + length, groups[i], 16)
        out[length] = c":"
        length += 1
    out[length] = c":"
    return length + 1
