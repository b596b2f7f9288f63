"""Values as text: JSON strings, label values, numbers, base64, hexadecimal, RFC 3339."""

from libc.math cimport isinf, isnan
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from exporters.wire.buffer cimport Buffer, put, put_byte, reserve

cdef extern from "Python.h":
    char* PyOS_double_to_string(double value, char code, int precision, int flags, int* kind) except NULL
    void PyMem_Free(void* at)

cdef extern from *:
    """
    static const char loki_hex[] = "0123456789abcdef";
    static const char loki_base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    """
    const char* loki_hex
    const char* loki_base64


cdef inline size_t plain_bytes(const uint8_t* at, size_t size) noexcept nogil:
    """How many bytes at the beginning need no escape in JSON: no control character, quote or backslash."""
    cdef size_t i = 0
    cdef uint64_t word, low = <uint64_t>0x0101010101010101, high = <uint64_t>0x8080808080808080, odd, quote, slash
    while i + 8 <= size:
        memcpy(&word, at + i, 8)
        quote = word ^ (low * 0x22)
        slash = word ^ (low * 0x5C)
        odd = ((word - low * 0x20) & ~word) | ((quote - low) & ~quote) | ((slash - low) & ~slash)
        if odd & high:
            break
        i += 8
    while i < size and at[i] >= 0x20 and at[i] != 0x22 and at[i] != 0x5C:
        i += 1
    return i


cdef inline uint8_t short_escape(uint8_t byte) noexcept nogil:
    """The letter behind the backslash where `byte` has a short escape in JSON, else 0."""
    if byte == 0x22 or byte == 0x5C:
        return byte
    if byte == 0x0A:
        return c"n"
    if byte == 0x0D:
        return c"r"
    if byte == 0x09:
        return c"t"
    if byte == 0x08:
        return c"b"
    if byte == 0x0C:
        return c"f"
    return 0


cdef inline int put_json_inner(Buffer* out, const uint8_t* at, size_t size) except -1:
    """The text between the quotes of a JSON string."""
    cdef size_t run
    cdef uint8_t letter
    while size:
        run = plain_bytes(at, size)
        put(out, at, run)
        at += run
        size -= run
        if size:
            letter = short_escape(at[0])
            if letter:
                put_byte(out, c"\\")
                put_byte(out, letter)
            else:
                put(out, <const char*>b"\\u00", 4)
                put_byte(out, loki_hex[at[0] >> 4])
                put_byte(out, loki_hex[at[0] & 15])
            at += 1
            size -= 1
    return 0


cdef inline int put_json_string(Buffer* out, const uint8_t* at, size_t size) except -1:
    put_byte(out, c'"')
    put_json_inner(out, at, size)
    return put_byte(out, c'"')


cdef inline int put_label_value(Buffer* out, const uint8_t* at, size_t size) except -1:
    """A label's value in quotes, with the escapes of Go's strings, which the parsers of labels undo."""
    cdef size_t i
    cdef uint8_t byte
    put_byte(out, c'"')
    for i in range(size):
        byte = at[i]
        if byte == 0x22 or byte == 0x5C:
            put_byte(out, c"\\")
            put_byte(out, byte)
        elif byte == 0x07:
            put(out, <const char*>b"\\a", 2)
        elif byte == 0x0B:
            put(out, <const char*>b"\\v", 2)
        elif short_escape(byte):
            put_byte(out, c"\\")
            put_byte(out, short_escape(byte))
        elif byte < 0x20 or byte == 0x7F:
            put(out, <const char*>b"\\x", 2)
            put_byte(out, loki_hex[byte >> 4])
            put_byte(out, loki_hex[byte & 15])
        else:
            put_byte(out, byte)
    return put_byte(out, c'"')


cdef inline int put_unsigned(Buffer* out, uint64_t value) except -1:
    cdef uint8_t[20] digits
    cdef int n = 20
    while True:
        n -= 1
        digits[n] = <uint8_t>(48 + value % 10)
        value //= 10
        if not value:
            break
    return put(out, &digits[n], 20 - n)


cdef inline int put_signed(Buffer* out, int64_t value) except -1:
    if value < 0:
        put_byte(out, c"-")
        return put_unsigned(out, <uint64_t>0 - <uint64_t>value)
    return put_unsigned(out, <uint64_t>value)


cdef inline int put_double(Buffer* out, double value, bint json) except -1:
    """The shortest text that reads back equal. JSON has no word for what isn't finite: a string, as protobuf's JSON."""
    cdef const char* word = NULL
    cdef char* text
    if isnan(value):
        word = b"NaN"
    elif isinf(value):
        word = b"Infinity" if value > 0 else b"-Infinity"
    if word != NULL:
        if json:
            put_byte(out, c'"')
        put(out, word, strlen(word))
        return put_byte(out, c'"') if json else 0
    text = PyOS_double_to_string(value, c"r", 0, 0, NULL)
    try:
        put(out, text, strlen(text))
    finally:
        PyMem_Free(text)
    return 0


cdef inline int put_base64(Buffer* out, const uint8_t* at, size_t size) except -1:
    cdef uint32_t three
    cdef size_t i = 0, left
    cdef uint8_t* to
    reserve(out, (size + 2) // 3 * 4)
    to = out.data + out.used
    while i < size:
        left = size - i
        three = <uint32_t>at[i] << 16
        if left > 1:
            three |= <uint32_t>at[i + 1] << 8
        if left > 2:
            three |= at[i + 2]
        to[0] = loki_base64[three >> 18]
        to[1] = loki_base64[three >> 12 & 63]
        to[2] = loki_base64[three >> 6 & 63] if left > 1 else c"="
        to[3] = loki_base64[three & 63] if left > 2 else c"="
        to += 4
        i += 3
    out.used = to - out.data
    return 0


cdef inline void write_hex(uint8_t* to, const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        to[2 * i] = loki_hex[at[i] >> 4]
        to[2 * i + 1] = loki_hex[at[i] & 15]


cdef inline size_t utf8_cut(const uint8_t* at, size_t size, size_t most) noexcept nogil:
    """The most bytes of a UTF-8 text that are at most `most` and end where a character ends."""
    if size <= most:
        return size
    while most and at[most] & 0xC0 == 0x80:
        most -= 1
    return most


cdef inline void write_digits(uint8_t* to, uint32_t value, int digits) noexcept nogil:
    while digits:
        digits -= 1
        to[digits] = <uint8_t>(48 + value % 10)
        value //= 10


cdef inline void write_time(uint8_t* to, uint64_t ns) noexcept nogil:
    """`2026-01-31T12:00:00.000Z`, 24 bytes, of nanoseconds since 1970: the proleptic Gregorian calendar in UTC."""
    cdef uint64_t second = ns // 1000000000
    cdef uint32_t milli = <uint32_t>(ns % 1000000000 // 1000000)
    cdef uint32_t days = <uint32_t>(second // 86400), rest = <uint32_t>(second % 86400)
    # Years that begin in March, in eras of 400 years: the leap day is then the last of its year.
    cdef uint32_t shifted = days + 719468
    cdef uint32_t era = shifted // 146097, day = shifted % 146097
    cdef uint32_t year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    cdef uint32_t of_year = day - (365 * year + year // 4 - year // 100)
    cdef uint32_t month = (5 * of_year + 2) // 153
    write_digits(to + 8, of_year - (153 * month + 2) // 5 + 1, 2)
    month = month + 3 if month < 10 else month - 9
    write_digits(to, year + era * 400 + (1 if month <= 2 else 0), 4)
    write_digits(to + 5, month, 2)
    write_digits(to + 11, rest // 3600, 2)
    write_digits(to + 14, rest // 60 % 60, 2)
    write_digits(to + 17, rest % 60, 2)
    write_digits(to + 20, milli, 3)
    to[4] = to[7] = c"-"
    to[10] = c"T"
    to[13] = to[16] = c":"
    to[19] = c"."
    to[23] = c"Z"
