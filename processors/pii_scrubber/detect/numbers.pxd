"""Groups of digits with separators between them, as people write numbers."""

from libc.stdint cimport uint8_t

from processors.pii_scrubber.detect.classes cimport DIGIT, escape, pii_class

cdef enum:
    MOST_GROUPS = 8
    MOST_DIGITS = 24
    SPARSE_GROUPS = 4
    SPARSE_DIGITS = 6

    # what stands before a group; several may
    SPACE = 1     # also the no-break ones, `%20`, and the `+` of a URL
    DASH = 2      # also the no-break one and the en dash
    DOT = 4
    SLASH = 8
    OPENED = 16   # a bracket opens
    CLOSED = 32   # a bracket closes

cdef struct Number:
    int groups
    int digits
    uint8_t digit[MOST_DIGITS]
    uint8_t length[MOST_GROUPS]
    uint8_t before[MOST_GROUPS]
    uint8_t after               # of the last group, where a group follows that did not fit
    Py_ssize_t end[MOST_GROUPS]


cdef inline bint blank_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    return text[at] == c" " or text[at] == c"+" or escape(text, size, at) == c" "


cdef inline Py_ssize_t read_separator(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, uint8_t *kinds
) noexcept nogil:
    """Read at most three separators, no blanks in a row, that stand before a digit; where the digit is, or -1."""
    cdef int count = 0, plain
    cdef uint8_t byte
    kinds[0] = 0
    while at < size:
        byte = text[at]
        if pii_class[byte] & DIGIT:
            return at if count else -1
        if count == 3 or kinds[0] == SPACE and blank_at(text, size, at):
            return -1
        count += 1
        if byte == c" ":
            kinds[0] |= SPACE
        elif byte == c"-":
            if kinds[0] & DASH:
                return -1
            kinds[0] |= DASH
        elif byte == c".":
            if kinds[0] & ~CLOSED:
                return -1
            kinds[0] |= DOT
        elif byte == c"/":
            kinds[0] |= SLASH
        elif byte == c"(":
            kinds[0] |= OPENED
        elif byte == c")":
            kinds[0] |= CLOSED
        elif byte == c"+" and not kinds[0]:
            kinds[0] |= SPACE
        elif byte == c"%":
            plain = escape(text, size, at)
            if plain == c" ":
                kinds[0] |= SPACE
            elif plain == c"(":
                kinds[0] |= OPENED
            elif plain == c")":
                kinds[0] |= CLOSED
            elif plain == c"/":
                kinds[0] |= SLASH
            else:
                return -1
            at += 2
        elif byte == 0xC2 and at + 1 < size and text[at + 1] == 0xA0:
            kinds[0] |= SPACE
            at += 1
        elif byte == 0xE2 and at + 2 < size and text[at + 1] == 0x80:
            # thin and narrow spaces; hyphen, no-break hyphen, figure dash, en dash
            if text[at + 2] == 0x89 or text[at + 2] == 0xAF or text[at + 2] == 0x87:
                kinds[0] |= SPACE
            elif 0x90 <= text[at + 2] <= 0x93:
                kinds[0] |= DASH
            else:
                return -1
            at += 2
        else:
            return -1
        at += 1
    return -1


cdef inline void read_number(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Number *number) noexcept nogil:
    """Read the groups that begin at the digit `at`: as many as fit. A first group that is too long gives none."""
    cdef uint8_t kinds = 0
    cdef int length
    cdef Py_ssize_t start
    number.groups = 0
    number.digits = 0
    number.after = 0
    while True:
        length = 0
        start = at
        while at < size and pii_class[text[at]] & DIGIT:
            if number.digits + length == MOST_DIGITS:
                number.after = kinds
                return
            number.digit[number.digits + length] = text[at] - 48
            length += 1
            at += 1
        number.length[number.groups] = <uint8_t>length
        number.before[number.groups] = kinds
        number.end[number.groups] = at
        number.groups += 1
        number.digits += length
        if number.groups == SPARSE_GROUPS and number.digits < SPARSE_DIGITS:
            return    # a row of small numbers: no card and no phone number begins so
        start = read_separator(text, size, at, &kinds)
        if start < 0:
            return
        if number.groups == MOST_GROUPS:
            number.after = kinds
            return
        at = start
