"""JSON text (RFC 8259), one token at a time, strictly: no NaN, no lone surrogates, nothing unescaped below U+0020."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.buffer cimport Buffer, put, reserve

cdef enum:
    DEEPEST = 512            # nesting of what is skipped


cdef struct Text:
    const uint8_t* at        # the next byte; a NUL stands behind the last one
    const uint8_t* end
    Buffer scratch           # the last string that had escapes, decoded


cdef struct Number:
    const uint8_t* start     # its text, for a conversion to double
    uint64_t magnitude
    bint negative
    bint integral            # has neither fraction nor exponent
    bint too_large           # an integer beyond 64 bits


cdef inline void skip_space(Text* text) noexcept nogil:
    while text.at < text.end and (
        text.at[0] == 0x20 or text.at[0] == 0x0A or text.at[0] == 0x0D or text.at[0] == 0x09
    ):
        text.at += 1


cdef inline bint take(Text* text, uint8_t token) noexcept nogil:
    """Whether the next token is this one, which is then passed."""
    skip_space(text)
    if text.at < text.end and text.at[0] == token:
        text.at += 1
        return True
    return False


cdef inline bint take_word(Text* text, const char* word, size_t size) noexcept nogil:
    cdef size_t i
    if <size_t>(text.end - text.at) < size:
        return False
    for i in range(size):
        if text.at[i] != <uint8_t>word[i]:
            return False
    text.at += size
    return True


cdef inline int hex_value(uint8_t c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    if c'A' <= c <= c'F':
        return c - c'A' + 10
    return -1


cdef inline int take_unit(Text* text) noexcept nogil:
    """The four hex digits behind `\\u`, or -1."""
    cdef int unit = 0, i, digit
    if text.end - text.at < 4:
        return -1
    for i in range(4):
        digit = hex_value(text.at[i])
        if digit < 0:
            return -1
        unit = unit << 4 | digit
    text.at += 4
    return unit


cdef inline int take_escape(Text* text, uint8_t* utf8) noexcept nogil:
    """What follows a backslash, as up to four bytes of UTF-8; their number, or -1."""
    cdef uint8_t c
    cdef int unit, low
    cdef uint32_t point
    if text.at >= text.end:
        return -1
    c = text.at[0]
    text.at += 1
    if c == c'"' or c == c'\\' or c == c'/':
        utf8[0] = c
    elif c == c'b':
        utf8[0] = 0x08
    elif c == c'f':
        utf8[0] = 0x0C
    elif c == c'n':
        utf8[0] = 0x0A
    elif c == c'r':
        utf8[0] = 0x0D
    elif c == c't':
        utf8[0] = 0x09
    elif c != c'u':
        return -1
    else:
        unit = take_unit(text)
        if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
            return -1
        point = unit
        if 0xD800 <= unit <= 0xDBFF:
            if text.end - text.at < 2 or text.at[0] != c'\\' or text.at[1] != c'u':
                return -1
            text.at += 2
            low = take_unit(text)
            if low < 0xDC00 or low > 0xDFFF:
                return -1
            point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
            utf8[0] = <uint8_t>(0xF0 | point >> 18)
            utf8[1] = <uint8_t>(0x80 | (point >> 12 & 0x3F))
            utf8[2] = <uint8_t>(0x80 | (point >> 6 & 0x3F))
            utf8[3] = <uint8_t>(0x80 | (point & 0x3F))
            return 4
        if point >= 0x800:
            utf8[0] = <uint8_t>(0xE0 | point >> 12)
            utf8[1] = <uint8_t>(0x80 | (point >> 6 & 0x3F))
            utf8[2] = <uint8_t>(0x80 | (point & 0x3F))
            return 3
        if point >= 0x80:
            utf8[0] = <uint8_t>(0xC0 | point >> 6)
            utf8[1] = <uint8_t>(0x80 | (point & 0x3F))
            return 2
        utf8[0] = <uint8_t>point
    return 1


cdef inline int take_string(Text* text, const uint8_t** value, size_t* size) noexcept nogil:
    """The string at the cursor, which stands on its quote. `value` holds until the next string. -1: bad, -2: memory.

    A NUL or a quote stands behind the value, so that a number in it can be read as C text.
    """
    cdef const uint8_t* run
    cdef uint8_t[4] utf8
    cdef int count
    text.at += 1
    run = text.at
    while text.at < text.end and text.at[0] != c'"' and text.at[0] != c'\\':
        if text.at[0] < 0x20:
            return -1
        text.at += 1
    if text.at >= text.end:
        return -1
    if text.at[0] == c'"':
        value[0] = run
        size[0] = text.at - run
        text.at += 1
        return 0
    text.scratch.used = 0
    while True:
        if put(&text.scratch, run, text.at - run) < 0:
            return -2
        if text.at[0] == c'"':
            break
        text.at += 1
        count = take_escape(text, utf8)
        if count < 0:
            return -1
        if put(&text.scratch, utf8, count) < 0:
            return -2
        run = text.at
        while text.at < text.end and text.at[0] != c'"' and text.at[0] != c'\\':
            if text.at[0] < 0x20:
                return -1
            text.at += 1
        if text.at >= text.end:
            return -1
    text.at += 1
    if reserve(&text.scratch, 1) < 0:
        return -2
    text.scratch.data[text.scratch.used] = 0
    value[0] = text.scratch.data
    size[0] = text.scratch.used
    return 0


cdef inline const uint8_t* read_number(const uint8_t* at, const uint8_t* end, Number* number) noexcept nogil:
    """The byte behind the number that begins at `at`, or NULL."""
    cdef uint64_t digit
    number.start = at
    number.magnitude = 0
    number.negative = number.too_large = False
    number.integral = True
    if at < end and at[0] == c'-':
        number.negative = True
        at += 1
    if at >= end or at[0] < c'0' or at[0] > c'9':
        return NULL
    if at[0] == c'0' and end - at > 1 and c'0' <= at[1] <= c'9':
        return NULL
    while at < end and c'0' <= at[0] <= c'9':
        digit = at[0] - c'0'
        if number.magnitude > (<uint64_t>-1 - digit) // 10:
            number.too_large = True
        number.magnitude = number.magnitude * 10 + digit
        at += 1
    if at < end and at[0] == c'.':
        number.integral = False
        at += 1
        if at >= end or at[0] < c'0' or at[0] > c'9':
            return NULL
        while at < end and c'0' <= at[0] <= c'9':
            at += 1
    if at < end and (at[0] == c'e' or at[0] == c'E'):
        number.integral = False
        at += 1
        if at < end and (at[0] == c'+' or at[0] == c'-'):
            at += 1
        if at >= end or at[0] < c'0' or at[0] > c'9':
            return NULL
        while at < end and c'0' <= at[0] <= c'9':
            at += 1
    return at


cdef inline int take_key(Text* text, const uint8_t** key, size_t* size) noexcept nogil:
    """A member's name and its colon. Results as of `take_string`."""
    cdef int problem
    skip_space(text)
    if text.at >= text.end or text.at[0] != c'"':
        return -1
    problem = take_string(text, key, size)
    if problem < 0:
        return problem
    return 0 if take(text, c':') else -1


cdef inline int skip_json(Text* text) noexcept nogil:
    """Past one value of any kind, checked. -1: not JSON, or nested too deep; -2: memory."""
    cdef uint8_t[DEEPEST] closing
    cdef int depth = 0, problem
    cdef const uint8_t* value = NULL
    cdef size_t size = 0
    cdef Number number
    while True:
        skip_space(text)
        if text.at >= text.end:
            return -1
        if text.at[0] == c'{' or text.at[0] == c'[':
            if depth == DEEPEST:
                return -1
            closing[depth] = c'}' if text.at[0] == c'{' else c']'
            text.at += 1
            if not take(text, closing[depth]):
                problem = take_key(text, &value, &size) if closing[depth] == c'}' else 0
                if problem < 0:
                    return problem
                depth += 1
                continue
        elif text.at[0] == c'"':
            problem = take_string(text, &value, &size)
            if problem < 0:
                return problem
        elif not take_word(text, b"true", 4) and not take_word(text, b"false", 5) and not take_word(text, b"null", 4):
            value = read_number(text.at, text.end, &number)
            if value == NULL:
                return -1
            text.at = value
        while True:                          # behind a value
            if depth == 0:
                return 0
            if take(text, c','):
                problem = take_key(text, &value, &size) if closing[depth - 1] == c'}' else 0
                if problem < 0:
                    return problem
                break
            if not take(text, closing[depth - 1]):
                return -1
            depth -= 1
