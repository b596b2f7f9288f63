"""E-mail addresses (RFC 5321, 5322; UTF-8 by RFC 6531) as they are written in practice.

No findings: hosts without a dot, literal addresses in brackets, `git@` and other scp-like remotes
(`user@host.tld:path/...`), versions (`react@18.2.0`), retina image names (`logo@2x.png`) and systemd units. The ending
of a file that an address names (`ana@example.com.txt`) is no part of it.
"""

from libc.stdint cimport uint8_t

from processors.pii_scrubber.detect.classes cimport (
    ALNUM, DIGIT, LABEL, LETTER, LOCAL, escape, has, is_json_escape, matches, peek, pii_class,
)

cdef enum:
    LONGEST_QUOTED = 64


cdef inline Py_ssize_t local_start(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t floor, Py_ssize_t at
) noexcept nogil:
    """Where the local part that ends at `at` begins; `at` itself when there is none."""
    cdef Py_ssize_t start = at, limit
    cdef int plain
    if at > floor and text[at - 1] == c"\"":
        limit = at - 2 - LONGEST_QUOTED
        if limit < floor:
            limit = floor
        start = at - 2
        while start >= limit and (pii_class[text[start]] & LOCAL or text[start] == c" "):
            start -= 1
        return start if start >= limit and text[start] == c"\"" and start < at - 2 else at
    while start > floor and pii_class[text[start - 1]] & LOCAL:
        start -= 1
    while start < at and text[start] & 0xC0 == 0x80:
        start += 1    # the rest of a sign
    # a name begins with a letter, a digit or an underscore; a percent-encoded sign before it belongs to the URL
    while start < at and not (pii_class[text[start]] & ALNUM or text[start] == c"_" or text[start] >= 128):
        plain = escape(text, at, start)
        if plain >= 128 or (plain == c"\"" and start < at - 3 and escape(text, at, at - 3) == c"\""):
            break
        start += 3 if plain >= 0 else 1
    if start and text[start - 1] == c"\\" and at - start > 1 and text[start] in b"nrt":
        start += 1
    elif start and at - start > 5 and is_json_escape(text, at, start - 1):
        start += 5
    return start


cdef inline bint is_file(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether the label [at, end) is a file's ending that is no domain."""
    cdef Py_ssize_t length = end - at
    if length == 2:
        return matches(text, size, at, b"js", 2) or matches(text, size, at, b"gz", 2)
    if length == 3:
        return (
            matches(text, size, at, b"png", 3) or matches(text, size, at, b"jpg", 3)
            or matches(text, size, at, b"gif", 3)
            or matches(text, size, at, b"svg", 3) or matches(text, size, at, b"css", 3)
            or matches(text, size, at, b"txt", 3) or matches(text, size, at, b"log", 3)
            or matches(text, size, at, b"yml", 3) or matches(text, size, at, b"tgz", 3)
            or matches(text, size, at, b"pdf", 3) or matches(text, size, at, b"jar", 3)
            or matches(text, size, at, b"csv", 3) or matches(text, size, at, b"xml", 3)
            or matches(text, size, at, b"tar", 3) or matches(text, size, at, b"bak", 3)
            or matches(text, size, at, b"tmp", 3) or matches(text, size, at, b"bz2", 3)
        )
    return length == 4 and (
        matches(text, size, at, b"jpeg", 4) or matches(text, size, at, b"webp", 4)
        or matches(text, size, at, b"json", 4) or matches(text, size, at, b"yaml", 4)
        or matches(text, size, at, b"html", 4)
    )


cdef inline bint is_unit(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether the label [at, end) is a systemd unit's type that is no domain."""
    cdef Py_ssize_t length = end - at
    if length == 5:
        return matches(text, size, at, b"timer", 5) or matches(text, size, at, b"mount", 5)
    if length == 6:
        return (
            matches(text, size, at, b"socket", 6) or matches(text, size, at, b"target", 6)
            or matches(text, size, at, b"device", 6)
        )
    return length == 7 and matches(text, size, at, b"service", 7)


cdef inline bint is_of_build(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether the label [at, end) stands before a file's ending as a domain does, but is none: `logo@2x.min.js`."""
    cdef Py_ssize_t length = end - at
    if length == 3:
        return matches(text, size, at, b"min", 3) or matches(text, size, at, b"map", 3)
    if length == 4:
        return (
            matches(text, size, at, b"test", 4) or matches(text, size, at, b"spec", 4)
            or matches(text, size, at, b"dark", 4)
        )
    if length == 5:
        return matches(text, size, at, b"chunk", 5) or matches(text, size, at, b"light", 5)
    return length == 6 and (matches(text, size, at, b"bundle", 6) or matches(text, size, at, b"module", 6))


cdef inline bint is_scale(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Whether an image's scale begins at `at`: `2x.`"""
    return has(text, size, at, DIGIT) and peek(text, size, at + 1) == c"x" and peek(text, size, at + 2) == c"."


cdef inline Py_ssize_t label_before(const uint8_t *text, Py_ssize_t first, Py_ssize_t at) noexcept nogil:
    """Where the label begins that stands before the one at `at`, not before `first`."""
    cdef Py_ssize_t start = at - 1
    while start > first and text[start - 1] != c".":
        start -= 1
    return start


cdef inline bint is_number(const uint8_t *text, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and pii_class[text[at]] & DIGIT:
        at += 1
    return at == end


cdef inline Py_ssize_t domain_end(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The end of the host name with at least one dot that begins at `at`, or -1."""
    cdef Py_ssize_t end = at, label = at, last = at, i
    cdef int labels = 0
    if not (has(text, size, at, LABEL) or escape(text, size, at) >= 128) or text[at] == c"-":
        return -1
    while True:
        while end < size and (pii_class[text[end]] & LABEL or escape(text, size, end) >= 128):
            end += 1 if pii_class[text[end]] & LABEL else 3
        if end == label:
            break
        last = label
        labels += 1
        if end < size and text[end] == c"." and (has(text, size, end + 1, LABEL) or escape(text, size, end + 1) >= 128):
            end += 1
            label = end
        else:
            break
    while end > last and text[end - 1] == c"-":
        end -= 1
    if is_scale(text, size, at) and is_file(text, size, last, end):
        return -1
    if labels > 3 and is_number(text, last, end) and is_file(text, size, label_before(text, at, last), last - 1):
        # a log that has been rotated
        end = last - 1
        last = label_before(text, at, last)
        labels -= 1
    while labels > 2 and is_file(text, size, last, end):
        end = last - 1
        last = label_before(text, at, last)
        labels -= 1
        if is_of_build(text, size, last, end):
            return -1
    if labels < 2 or end - last < 2 or pii_class[text[last]] & DIGIT:
        return -1
    for i in range(last, end):
        if pii_class[text[i]] & DIGIT and not matches(text, size, last, b"xn--", 4) and text[last] != c"%":
            return -1
    # a version: the first label is a number and a number follows
    i = at
    while i < end and pii_class[text[i]] & DIGIT:
        i += 1
    if i > at and text[i] == c"." and has(text, size, i + 1, DIGIT):
        return -1
    return -1 if is_file(text, size, last, end) or is_unit(text, size, last, end) else end


cdef inline bint is_remote(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t start, Py_ssize_t at, Py_ssize_t end
) noexcept nogil:
    """Whether it is a place to fetch from, not a person: `git@...`, `user@host.tld:path/to`."""
    cdef Py_ssize_t limit
    if at - start == 3 and matches(text, size, start, b"git", 3):
        return True
    if peek(text, size, end) != c":" or not has(text, size, end + 1, LETTER):
        return False
    limit = min(size, end + 64)
    while end < limit and text[end] > 32 and text[end] != c"\"":
        if text[end] == c"/":
            return True
        end += 1
    return False


cdef inline Py_ssize_t email_around(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t floor, Py_ssize_t at, int length, Py_ssize_t *start
) noexcept nogil:
    """The end of the address whose `@` (or `%40`, `length` bytes) is at `at`, or -1; nothing before `floor` counts."""
    cdef Py_ssize_t end
    start[0] = local_start(text, size, floor, at)
    if start[0] == at or (text[at - 1] == c"." and text[start[0]] != c"\""):
        return -1
    end = domain_end(text, size, at + length)
    if end < 0 or is_remote(text, size, start[0], at, end):
        return -1
    return end


cdef inline bint may_be_local(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t start, Py_ssize_t at, int length
) noexcept nogil:
    """Whether [start, at), which an `@` (or `%40`) of `length` bytes follows, lies in an e-mail address."""
    while start < at:
        if not pii_class[text[start]] & LOCAL:
            return False
        start += 1
    return domain_end(text, size, at + length) > 0
