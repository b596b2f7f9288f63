"""Secrets known by what stands before them: `password=...`, `"api_key": "..."`, `Bearer ...`, passwords in URLs."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from processors.pii_scrubber.detect.classes cimport (
    ALNUM, BASE64, DIGIT, LOWER, TOKEN, escape, has, lower, matches, peek, pii_class, run, skip_blanks,
)

cdef extern from *:
    """
    typedef struct { const char *word; unsigned char length; unsigned char whole; } pii_keyword;
    /* Ends of key names, in lower case and without separators. whole: the name must be just that. */
    static const pii_keyword pii_keywords[] = {
        {"password", 8, 0}, {"passwd", 6, 0}, {"passphrase", 10, 0}, {"pwd", 3, 0}, {"pass", 4, 1},
        {"secret", 6, 0}, {"secretkey", 9, 0}, {"apikey", 6, 0}, {"accesskey", 9, 0}, {"accountkey", 10, 0},
        {"privatekey", 10, 0}, {"encryptionkey", 13, 0}, {"signingkey", 10, 0}, {"authkey", 7, 0}, {"token", 5, 0},
        {"credential", 10, 0}, {"credentials", 11, 0}, {"authorization", 13, 0}, {"auth", 4, 1}, {"sig", 3, 1},
        {0, 0, 0}
    };
    """
    ctypedef struct pii_keyword:
        const char *word
        uint8_t length
        uint8_t whole
    const pii_keyword pii_keywords[]

cdef enum:
    # places in pii_keywords that have rules of their own
    WORKING_DIRECTORY = 3
    PASS = 4
    ANY_TOKEN = 14
    AUTHORIZATION = 17
    SIGNATURE = 19

    LONGEST_NAME = 32
    SHORTEST_SECRET = 4
    SHORTEST_SPOKEN = 6     # after `password: `, as in a sentence
    SHORTEST_BEARER = 16
    SHORTEST_SIGNATURE = 20


cdef inline int keyword_before(const uint8_t *text, Py_ssize_t at) noexcept nogil:
    """Which of `pii_keywords` the name ends with that ends at `at`, quotes and blanks apart; -1 for none."""
    cdef uint8_t name[LONGEST_NAME]
    cdef int length = 0, which = 0, i
    cdef Py_ssize_t start, limit = at - 3
    cdef uint8_t byte
    while at > 0 and at > limit:
        byte = text[at - 1]
        if byte == c"\"" or byte == c"'" or byte == c" " or byte == c"+" or byte == c"\\":
            at -= 1
        elif escape(text, at, at - 3) in (c"\"", c"'", c" "):
            at -= 3
        else:
            break
    if at == 0:
        return -1
    # the last letters of all keywords
    byte = lower(text[at - 1])
    if not (byte == c"d" or byte == c"e" or byte == c"s" or byte == c"t" or byte == c"y" or byte == c"n"
            or byte == c"l" or byte == c"h" or byte == c"g"):
        return -1
    start = at
    while start > 0 and length < LONGEST_NAME and pii_class[text[start - 1]] & TOKEN:
        start -= 1
        byte = text[start]
        if byte != c"_" and byte != c"-":
            name[LONGEST_NAME - 1 - length] = lower(byte)
            length += 1
    if start > 0 and text[start - 1] == c"%" and length >= 2 and length < LONGEST_NAME:
        length -= 2    # of an escape
    while pii_keywords[which].length:
        i = pii_keywords[which].length
        if i == length or (i < length and not pii_keywords[which].whole):
            if memcmp(name + LONGEST_NAME - i, pii_keywords[which].word, i) == 0:
                return which
        which += 1
    return -1


cdef inline bint is_placeholder(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether the value is none: a literal like null, or stars."""
    cdef Py_ssize_t length = end - at, i
    cdef uint8_t first = text[at]
    if first == c"*" or first == c"x" or first == c"X":
        for i in range(at, end):
            if text[i] != first:
                return False
        return True
    if length == 4:
        return (
            matches(text, size, at, b"null", 4) or matches(text, size, at, b"none", 4)
            or matches(text, size, at, b"true", 4)
        )
    if length == 5:
        return matches(text, size, at, b"false", 5) or matches(text, size, at, b"empty", 5)
    if length == 8:
        return matches(text, size, at, b"redacted", 8)
    return length == 9 and matches(text, size, at, b"undefined", 9)


cdef inline bint opens_value(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Whether what begins at `at` can be a value: no object, no variable, not what another scrubber has left."""
    cdef uint8_t first = text[at]
    if first == c"$":
        return peek(text, size, at + 1) != c"{" and peek(text, size, at + 1) != c"("
    return first != c"[" and first != c"<" and first != c"{" and first != c"=" and first != c":"


cdef inline bint looks_chosen(const uint8_t *text, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether it is more than a word: there is something in it that is no small letter, the first byte apart."""
    cdef Py_ssize_t i
    for i in range(at + 1, end):
        if not (pii_class[text[i]] & LOWER or text[i] == c"-" or text[i] == c"_" or text[i] == c"."):
            return True
    return False


cdef inline bint ends_value(uint8_t byte, bint quoted, bint line) noexcept nogil:
    if quoted:
        return byte == c"\"" or byte == c"'" or byte == c"\n"
    if byte <= 32 or byte == c"\"" or byte == c"'" or byte == c"<" or byte == c">" or byte == c"`":
        return True
    return not line and (byte == c"&" or byte == c"," or byte == c";" or byte == c")" or byte == c"]" or byte == c"}")


cdef inline bint ends_encoded(int plain, bint quoted) noexcept nogil:
    """The same for a byte of a text that is percent-encoded itself, its `=` or its quotes included."""
    if plain == c"\"" or plain == c"'":
        return True
    return not quoted and (plain == c"&" or plain == c";" or plain == c" " or plain == c"}" or plain == c",")


cdef inline Py_ssize_t assigned_at(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, int length, Py_ssize_t *start
) noexcept nogil:
    """The end of the secret that is assigned by the `=`, `:` or `%3D` (`length` bytes) at `at`, or -1."""
    cdef int which = keyword_before(text, at)
    cdef bint quoted = False, spoken = False, numeric = True, encoded = length == 3
    cdef Py_ssize_t here = at + length, end
    if which < 0 or (text[at] == c":" and (peek(text, size, here) == c":" or which == PASS)):
        return -1
    if peek(text, size, here) == c"=" or peek(text, size, here) == c">":
        here += 1
    # behind an = a + is base64, but where there was one before it, too
    end = here
    if peek(text, size, here) != c"+" or text[at] == c":" or peek(text, size, at - 1) == c"+":
        end = skip_blanks(text, size, here, 4)
    spoken = end > here
    here = end
    if here < size and text[here] == c"\\":
        here += 1
    if here < size and (text[here] == c"\"" or text[here] == c"'"):
        quoted = True
        here += 1
    elif escape(text, size, here) in (c"\"", c"'"):
        quoted = True
        encoded = True
        here += 3
    spoken = spoken and not quoted and text[at] == c":"
    if which == AUTHORIZATION:
        # a scheme, then the credentials
        end = run(text, size, here, TOKEN)
        if end > here and skip_blanks(text, size, end, 4) > end:
            encoded = encoded or text[end] != c" "
            here = skip_blanks(text, size, end, 4)
    # decided before anything is read: what is refused after a long way would be read again
    if here >= size or not opens_value(text, size, here) or (which == WORKING_DIRECTORY and text[here] == c"/"):
        return -1
    end = here
    if which == SIGNATURE:
        while end < size and (pii_class[text[end]] & (BASE64 | TOKEN) or text[end] == c"%"):
            end += 1
        start[0] = here
        return end if end - here >= SHORTEST_SIGNATURE else -1
    while end < size and not ends_value(text[end], quoted, which == AUTHORIZATION and not encoded):
        if encoded and text[end] == c"%" and ends_encoded(escape(text, size, end), quoted):
            break
        numeric = numeric and (pii_class[text[end]] & DIGIT) != 0
        end += 1
    if end - here > 1:
        if quoted:
            end -= text[end - 1] == c"\\" and end < size
        else:
            end -= text[end - 1] == c"." or text[end - 1] == c":"
    if end - here < (SHORTEST_SPOKEN if spoken else SHORTEST_SECRET) or is_placeholder(text, size, here, end):
        return -1
    if spoken and not looks_chosen(text, here, end):
        return -1
    if which == ANY_TOKEN and numeric and end - here < 8:
        return -1
    start[0] = here
    return end


cdef inline Py_ssize_t bearer_at(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t *start
) noexcept nogil:
    """The end of the token after the `Bearer` at `at` (RFC 6750, section 2.1), or -1."""
    cdef Py_ssize_t here = at + 6, end
    cdef bint odd = False, plus
    if not matches(text, size, at, b"bearer", 6) or here >= size:
        return -1
    end = skip_blanks(text, size, here, 1)
    if end == here:
        return -1
    plus = text[here] == c"+"
    here = end
    while end < size and (pii_class[text[end]] & (TOKEN | BASE64) or text[end] == c"." or text[end] == c"~"):
        if plus and text[end] == c"+":
            break    # a blank, too
        if not pii_class[text[end]] & LOWER and text[end] != c"-" and text[end] != c"_" and text[end] != c".":
            odd = True
        end += 1
    if end > here and text[end - 1] == c".":
        end -= 1
    if end - here < SHORTEST_BEARER or not odd:
        return -1
    start[0] = here
    return end


cdef inline Py_ssize_t url_password_before(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t floor, Py_ssize_t at, int length
) noexcept nogil:
    """Where the password of `scheme://user:password@host` begins whose `@` (or `%40`) is at `at`, or -1."""
    cdef Py_ssize_t here = at, colon = -1
    cdef uint8_t byte
    if not has(text, size, at + length, ALNUM) and peek(text, size, at + length) != c"[":
        return -1
    while here > floor:
        byte = text[here - 1]
        if byte == c"/":
            if colon >= here and here >= 3 and text[here - 2] == c"/" and text[here - 3] == c":":
                return colon + 1 if at - colon > 1 else -1
            return -1
        if byte <= 32 or byte == c"@" or byte == c"\"" or byte == c"'" or byte == c"<" or byte == c">":
            return -1
        if byte == c":":
            colon = here - 1
        here -= 1
    return -1
