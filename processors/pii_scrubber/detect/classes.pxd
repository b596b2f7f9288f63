"""Classes of bytes, and the edges of words: what every machine of this package stands on.

`fill_classes` runs once, when the module that includes this file is imported.
"""

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    static uint8_t pii_class[256];
    """
    uint8_t pii_class[256]

cdef enum:
    DIGIT = 1
    UPPER = 2
    LOWER = 4
    HEX = 8
    LOCAL = 16    # before the @ of an address
    LABEL = 32    # in a host name, the dot apart; any byte of UTF-8 beyond ASCII
    TOKEN = 64    # base64url and what tokens are made of: letters, digits, _ and -
    BASE64 = 128  # base64 as RFC 4648, section 4, has it, the padding included
    LETTER = 6
    ALNUM = 7


cdef inline void fill_classes() noexcept:
    cdef int byte
    cdef uint8_t flags
    for byte in range(256):
        flags = 0
        if 48 <= byte <= 57:
            flags = DIGIT | HEX
        elif 65 <= byte <= 90:
            flags = UPPER | (HEX if byte <= 70 else 0)
        elif 97 <= byte <= 122:
            flags = LOWER | (HEX if byte <= 102 else 0)
        if flags:
            flags |= LOCAL | LABEL | TOKEN | BASE64
        elif byte >= 128 and byte != 0xC2 and byte != 0xE2:
            # those two begin signs alone: no-break spaces, quotation marks, dashes, arrows
            flags = LOCAL | LABEL
        elif byte == c"-":
            flags = LOCAL | LABEL | TOKEN
        elif byte == c"_":
            flags = LOCAL | TOKEN
        elif byte == c"+":
            flags = LOCAL | BASE64
        elif byte == c"/" or byte == c"=":
            flags = BASE64
        elif byte == c"." or byte == c"%" or byte == c"~" or byte == c"'":
            flags = LOCAL
        pii_class[byte] = flags


cdef inline bint has(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, int classes) noexcept nogil:
    """Whether there is a byte of one of these classes at `at`, which may lie outside."""
    return 0 <= at < size and (pii_class[text[at]] & classes) != 0


cdef inline int peek(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The byte at `at`, or -1 outside."""
    return text[at] if 0 <= at < size else -1


cdef inline Py_ssize_t run(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, int classes) noexcept nogil:
    """Where the run of these classes that begins at `at` ends."""
    while at < size and pii_class[text[at]] & classes:
        at += 1
    return at


cdef inline bint starts_word(const uint8_t *text, Py_ssize_t at, int classes) noexcept nogil:
    r"""Whether what stands before `at` ends a word: no byte of `classes`, or an escape that only looks like one.

    `\n` and `\u003c` in JSON text that is a string itself, and `%3D` or `%20` in a URL, are such escapes.
    """
    if at == 0 or not pii_class[text[at - 1]] & classes:
        return True
    cdef uint8_t before = text[at - 1]
    if at >= 2 and text[at - 2] == c"\\" and (before == c"n" or before == c"t" or before == c"r"):
        return True
    if at >= 3 and text[at - 3] == c"%" and pii_class[text[at - 2]] & HEX and pii_class[before] & HEX:
        return True
    return at >= 6 and is_json_escape(text, at, at - 6)


cdef inline bint is_json_escape(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    r"""Whether a `\u` with its four hexadecimal digits stands at `at` (RFC 8259, section 7)."""
    cdef int i
    if at < 0 or size - at < 6 or text[at] != c"\\" or text[at + 1] != c"u":
        return False
    for i in range(2, 6):
        if not pii_class[text[at + i]] & HEX:
            return False
    return True


cdef inline int escape(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The byte that a percent-encoded one at `at` stands for (RFC 3986, section 2.1), or -1."""
    if size - at < 3 or at < 0 or text[at] != c"%" or not (pii_class[text[at + 1]] & pii_class[text[at + 2]] & HEX):
        return -1
    return nibble(text[at + 1]) << 4 | nibble(text[at + 2])


cdef inline int nibble(uint8_t byte) noexcept nogil:
    return (byte & 15) + (9 if byte > 57 else 0)


cdef inline Py_ssize_t skip_blanks(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, int most) noexcept nogil:
    """Where at most so many blanks end: spaces, and what URLs make of them."""
    while most > 0 and at < size:
        if text[at] == c" " or text[at] == c"+":
            at += 1
        elif escape(text, size, at) == c" ":
            at += 3
        else:
            break
        most -= 1
    return at


cdef inline uint8_t lower(uint8_t byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef inline bint matches(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, const char *word, Py_ssize_t length
) noexcept nogil:
    """Whether `word`, in lower case, stands at `at` in any case."""
    cdef Py_ssize_t i
    if at < 0 or length > size - at:
        return False
    for i in range(length):
        if lower(text[at + i]) != <uint8_t>word[i]:
            return False
    return True
