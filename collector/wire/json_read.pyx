"""OTLP/JSON text to protobuf bytes, in one walk and without an object in between.

So a body of many small elements takes no more memory than its own size over again, whatever it says.
"""

from collector.wire.scan import Malformed

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport isfinite
from libc.stdint cimport INT32_MAX, INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from collector.wire.buffer cimport Buffer, close_length, open_length, put, put_varint, reserve
from collector.wire.fields cimport BYTES, FIXED64, VARINT
from collector.wire.json_tables cimport (
    BASE64, BOOL, DOUBLE, ENUM, FIXED_INT32, FIXED_INT64, FIXED_UINT32, HEX, INT32, INT64, MESSAGE, SINT32, SINT64,
    UINT32, EnumInfo, FieldInfo, MessageInfo, request_info,
)
from collector.wire.json_text cimport (
    Number, Text, hex_value, read_number, skip_json, skip_space, take, take_key, take_string, take_word,
)
from collector.wire.utf8 cimport is_utf8
from collector.wire.varint cimport MAX_LEVELS

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, void* overflow) except? -1.0

cdef enum Problem:
    OK = 0
    NOT_JSON = -1
    NO_MEMORY = -2
    EXPECTED_OBJECT = -3
    EXPECTED_ARRAY = -4
    EXPECTED_STRING = -5
    EXPECTED_INTEGER = -6
    EXPECTED_NUMBER = -7
    EXPECTED_BOOL = -8
    EXPECTED_HEX_16 = -9
    EXPECTED_HEX_8 = -10
    EXPECTED_BASE64 = -11
    EXPECTED_ENUM = -12
    OUT_OF_RANGE = -13
    TWICE = -14
    TOO_DEEP = -15

_PROBLEMS = {
    EXPECTED_OBJECT: "expected an object",
    EXPECTED_ARRAY: "expected an array",
    EXPECTED_STRING: "expected a string",
    EXPECTED_INTEGER: "expected an integer, as a number or a string",
    EXPECTED_NUMBER: "expected a number",
    EXPECTED_BOOL: "expected true or false",
    EXPECTED_HEX_16: "expected 32 hex digits",
    EXPECTED_HEX_8: "expected 16 hex digits",
    EXPECTED_BASE64: "expected base64",
    EXPECTED_ENUM: "expected a number or a name of its enumeration",
    OUT_OF_RANGE: "the number is out of range",
    TWICE: "is given twice, or beside a field that excludes it",
    TOO_DEEP: "nested too deep",
}


cdef struct Step:
    const FieldInfo* field   # NULL: none yet, or an unknown one
    Py_ssize_t element       # the place in an array, or -1


cdef struct Reader:
    Text text
    Buffer out
    int depth
    Step[MAX_LEVELS + 2] path


cdef const FieldInfo* find_field(const MessageInfo* message, const uint8_t* key, size_t size, int guess) noexcept nogil:
    """By camelCase or snake_case name; looked for from the field `guess` on, since members mostly come in order."""
    cdef const FieldInfo* info
    cdef int i, slot
    for i in range(message.count):
        slot = guess + i
        if slot >= message.count:
            slot -= message.count
        info = &message.fields[slot]
        if (info.name_size == size and memcmp(info.name, key, size) == 0) or (
                info.snake_size == size and memcmp(info.snake, key, size) == 0):
            return info
    return NULL


cdef int to_double(const Number* number, double* value) noexcept nogil:
    """-1 when it is beyond the range of doubles. The number's text has been checked, and ends where the number does."""
    cdef char* end = NULL
    if number.integral and not number.too_large and number.magnitude < <uint64_t>1 << 53:
        value[0] = -<double>number.magnitude if number.negative else <double>number.magnitude
        return 0
    with gil:
        try:
            value[0] = PyOS_string_to_double(<const char*>number.start, &end, NULL)
        except (MemoryError, ValueError):
            return -1
    return 0 if isfinite(value[0]) else -1


cdef int whole(Number* number) noexcept nogil:
    """Make `1.0` and `1e3` the integers that they are."""
    cdef double value = 0
    if number.integral:
        return OUT_OF_RANGE if number.too_large else OK
    if to_double(number, &value) < 0:
        return OUT_OF_RANGE
    if value < 0:
        value = -value
    if value >= 18446744073709551616.0:
        return OUT_OF_RANGE
    number.magnitude = <uint64_t>value
    return OK if <double>number.magnitude == value else EXPECTED_INTEGER


cdef int take_number(Reader* reader, Number* number, int expected) noexcept nogil:
    """A number, or a string that is one."""
    cdef const uint8_t* value = NULL
    cdef size_t size = 0
    cdef int problem
    if reader.text.at < reader.text.end and reader.text.at[0] == c'"':
        problem = take_string(&reader.text, &value, &size)
        if problem < 0:
            return problem
        return OK if read_number(value, value + size, number) == value + size else expected
    value = read_number(reader.text.at, reader.text.end, number)
    if value == NULL:
        return expected
    reader.text.at = value
    return OK


cdef int put_number(Buffer* out, const FieldInfo* info, uint64_t value) noexcept nogil:
    if info.wire == VARINT:
        return put_varint(out, value)
    if reserve(out, 8) < 0:
        return NO_MEMORY
    memcpy(out.data + out.used, &value, 8 if info.wire == FIXED64 else 4)
    out.used += 8 if info.wire == FIXED64 else 4
    return OK


cdef int to_wire(const FieldInfo* info, const Number* number, uint64_t* value) noexcept nogil:
    """Check the range and bring the integer into the bits that the wire wants."""
    cdef uint64_t magnitude = number.magnitude
    cdef uint64_t most
    cdef bint signed = info.kind != UINT32 and info.kind != FIXED_UINT32
    if info.kind in (INT32, SINT32, FIXED_INT32, ENUM):
        most = INT32_MAX
    elif info.kind in (INT64, SINT64, FIXED_INT64):
        most = INT64_MAX
    elif not signed:
        most = UINT32_MAX
    else:
        signed = False
        most = <uint64_t>-1
    if magnitude > most + (1 if number.negative and signed else 0) or (number.negative and magnitude and not signed):
        return OUT_OF_RANGE
    value[0] = 0 - magnitude if number.negative else magnitude
    if info.kind == SINT32 or info.kind == SINT64:
        value[0] = value[0] << 1 ^ (0 - (value[0] >> 63))
    return OK


cdef int take_enum(Reader* reader, const FieldInfo* info, uint64_t* value) noexcept nogil:
    cdef const uint8_t* name = NULL
    cdef size_t size = 0
    cdef Number number
    cdef int problem, i
    cdef const EnumInfo* known = info.values
    if reader.text.at < reader.text.end and reader.text.at[0] == c'"':
        problem = take_string(&reader.text, &name, &size)
        if problem < 0:
            return problem
        for i in range(known.count):
            if known.values[i].size == size and memcmp(known.values[i].name, name, size) == 0:
                value[0] = <uint64_t><int64_t>known.values[i].number
                return OK
        if read_number(name, name + size, &number) != name + size:
            return EXPECTED_ENUM
    else:
        problem = take_number(reader, &number, EXPECTED_ENUM)
        if problem < 0:
            return problem
    problem = whole(&number)
    return to_wire(info, &number, value) if problem == OK else problem


cdef int take_bits(Reader* reader, const FieldInfo* info, uint64_t* bits) noexcept nogil:
    """A scalar of fixed size, as the 64 bits that the wire holds."""
    cdef Text* text = &reader.text
    cdef const uint8_t* value = NULL
    cdef size_t size = 0
    cdef double number_value = 0
    cdef Number number
    cdef int problem
    if info.kind == BOOL:
        bits[0] = take_word(text, b"true", 4)
        return OK if bits[0] or take_word(text, b"false", 5) else EXPECTED_BOOL
    if info.kind == ENUM:
        return take_enum(reader, info, bits)
    if info.kind != DOUBLE:
        problem = take_number(reader, &number, EXPECTED_INTEGER)
        if problem == OK:
            problem = whole(&number)
        return to_wire(info, &number, bits) if problem == OK else problem
    if text.at < text.end and text.at[0] == c'"':
        problem = take_string(text, &value, &size)
        if problem < 0:
            return problem
        if size == 3 and memcmp(value, b"NaN", 3) == 0:
            bits[0] = <uint64_t>0x7FF8 << 48
            return OK
        if size == 8 and memcmp(value, b"Infinity", 8) == 0:
            bits[0] = <uint64_t>0x7FF0 << 48
            return OK
        if size == 9 and memcmp(value, b"-Infinity", 9) == 0:
            bits[0] = <uint64_t>0xFFF0 << 48
            return OK
        if read_number(value, value + size, &number) != value + size:
            return EXPECTED_NUMBER
    else:
        problem = take_number(reader, &number, EXPECTED_NUMBER)
        if problem < 0:
            return problem
    if to_double(&number, &number_value) < 0:
        return OUT_OF_RANGE
    memcpy(bits, &number_value, 8)
    return OK


cdef int put_id(Reader* reader, const FieldInfo* info, const uint8_t* text, size_t size) noexcept nogil:
    cdef Buffer* out = &reader.out
    cdef size_t i
    cdef int high, low
    cdef int problem = EXPECTED_HEX_16 if info.id_size == 16 else EXPECTED_HEX_8
    if size != 2 * <size_t>info.id_size:
        return problem
    if put_varint(out, size // 2) < 0 or reserve(out, size // 2) < 0:
        return NO_MEMORY
    for i in range(size // 2):
        high = hex_value(text[2 * i])
        low = hex_value(text[2 * i + 1])
        if high < 0 or low < 0:
            return problem
        out.data[out.used + i] = <uint8_t>(high << 4 | low)
    out.used += size // 2
    return OK


cdef int base64_value(uint8_t c) noexcept nogil:
    """Of the standard or the URL-safe alphabet, or -1."""
    if c'A' <= c <= c'Z':
        return c - c'A'
    if c'a' <= c <= c'z':
        return c - c'a' + 26
    if c'0' <= c <= c'9':
        return c - c'0' + 52
    if c == c'+' or c == c'-':
        return 62
    if c == c'/' or c == c'_':
        return 63
    return -1


cdef int put_bytes(Buffer* out, const uint8_t* text, size_t size) noexcept nogil:
    """Base64 with or without its padding."""
    cdef uint32_t group = 0
    cdef int bits = 0, digit
    cdef size_t i
    if size % 4 == 0:
        for _ in range(2):
            if size and text[size - 1] == c'=':
                size -= 1
    if size % 4 == 1:
        return EXPECTED_BASE64
    if put_varint(out, size * 3 // 4) < 0 or reserve(out, size * 3 // 4 + 3) < 0:
        return NO_MEMORY
    for i in range(size):
        digit = base64_value(text[i])
        if digit < 0:
            return EXPECTED_BASE64
        group = group << 6 | <uint32_t>digit
        bits += 6
        if bits >= 8:
            bits -= 8
            out.data[out.used] = <uint8_t>(group >> bits)
            out.used += 1
    return OK


cdef int put_single(Reader* reader, const FieldInfo* info, int levels, int values) noexcept nogil:
    """One value with its tag. A singular one with the default value is left out, where protobuf leaves it out."""
    cdef Text* text = &reader.text
    cdef const uint8_t* value = NULL
    cdef size_t size = 0, place = 0
    cdef uint64_t bits = 0
    cdef uint32_t tag = info.number << 3 | info.wire
    cdef bint always = info.repeated or info.presence
    cdef int problem
    skip_space(text)
    if info.kind == MESSAGE:
        if open_length(&reader.out, tag, &place) < 0:
            return NO_MEMORY
        problem = put_object(reader, info.message, levels - 1, values - info.message.is_any_value)
        if problem != OK:
            return problem
        return close_length(&reader.out, place)
    if info.wire != BYTES:
        problem = take_bits(reader, info, &bits)
        if problem != OK or (bits == 0 and not always):
            return problem
        return NO_MEMORY if put_varint(&reader.out, tag) < 0 else put_number(&reader.out, info, bits)
    if text.at >= text.end or text.at[0] != c'"':
        return EXPECTED_STRING
    problem = take_string(text, &value, &size)
    if problem < 0 or (size == 0 and (info.kind == HEX or not always)):
        return problem
    if put_varint(&reader.out, tag) < 0:
        return NO_MEMORY
    if info.kind == HEX:
        return put_id(reader, info, value, size)
    if info.kind == BASE64:
        return put_bytes(&reader.out, value, size)
    if put_varint(&reader.out, size) < 0 or put(&reader.out, value, size) < 0:
        return NO_MEMORY
    return OK


cdef int put_array(Reader* reader, const FieldInfo* info, int levels, int values) noexcept nogil:
    """All values of a repeated field; numbers packed."""
    cdef size_t place = 0
    cdef uint64_t bits = 0
    cdef int problem
    if not take(&reader.text, c'['):
        return EXPECTED_ARRAY
    if take(&reader.text, c']'):
        return OK
    if info.wire != BYTES and open_length(&reader.out, info.number << 3 | BYTES, &place) < 0:
        return NO_MEMORY
    while True:
        reader.path[reader.depth].element += 1
        if info.wire == BYTES:
            problem = put_single(reader, info, levels, values)
        else:
            skip_space(&reader.text)
            problem = take_bits(reader, info, &bits)
            if problem == OK:
                problem = put_number(&reader.out, info, bits)
        if problem != OK:
            return problem
        if take(&reader.text, c']'):
            break
        if not take(&reader.text, c','):
            return NOT_JSON
    return OK if info.wire == BYTES else close_length(&reader.out, place)


cdef int put_object(Reader* reader, const MessageInfo* message, int levels, int values) noexcept nogil:
    cdef Text* text = &reader.text
    cdef const uint8_t* key = NULL
    cdef size_t size = 0
    cdef const FieldInfo* info
    cdef uint64_t seen = 0, oneofs = 0
    cdef int guess = 0, problem
    if levels < 0 or values < 0:
        return TOO_DEEP
    if not take(text, c'{'):
        return EXPECTED_OBJECT
    if take(text, c'}'):
        return OK
    reader.depth += 1
    while True:
        reader.path[reader.depth].field = NULL
        problem = take_key(text, &key, &size)
        if problem < 0:
            return problem
        info = find_field(message, key, size, guess)
        skip_space(text)
        if info == NULL:
            problem = skip_json(text)
            if problem < 0:
                return problem
        else:
            guess = info.slot + 1 if info.slot + 1 < message.count else 0
            reader.path[reader.depth].field = info
            reader.path[reader.depth].element = -1
            if seen >> info.slot & 1:
                return TWICE
            seen |= <uint64_t>1 << info.slot
            if not take_word(text, b"null", 4):
                if info.oneof >= 0:
                    if oneofs >> info.oneof & 1:
                        return TWICE
                    oneofs |= <uint64_t>1 << info.oneof
                if info.repeated:
                    problem = put_array(reader, info, levels, values)
                else:
                    problem = put_single(reader, info, levels, values)
                if problem != OK:
                    return problem
        if take(text, c'}'):
            break
        if not take(text, c','):
            return NOT_JSON
    reader.depth -= 1
    return OK


cdef int read_request(Reader* reader, const MessageInfo* message, int values) noexcept nogil:
    cdef int problem
    if not is_utf8(reader.text.at, reader.text.end - reader.text.at):
        return NOT_JSON
    problem = put_object(reader, message, MAX_LEVELS, values)
    if problem == OK:
        skip_space(&reader.text)
        if reader.text.at != reader.text.end:
            return NOT_JSON
    return problem


cdef str place_of(const Reader* reader):
    """The path of the field that is being read, in the schema's own names."""
    cdef int level
    cdef list names = []
    for level in range(1, reader.depth + 1):
        if reader.path[level].field != NULL:
            name = reader.path[level].field.name.decode()
            names.append(name if reader.path[level].element < 0 else f"{name}[{reader.path[level].element}]")
    return ".".join(names)


def from_json(bytes text not None, signal="traces", *, int max_depth=32):
    cdef MessageInfo* message = request_info(signal)
    cdef Reader reader
    cdef int problem
    memset(&reader, 0, sizeof(Reader))
    reader.text.at = <const uint8_t*>PyBytes_AS_STRING(text)
    reader.text.end = reader.text.at + PyBytes_GET_SIZE(text)
    try:
        with nogil:
            problem = read_request(&reader, message, max_depth)
        if problem == OK:
            return PyBytes_FromStringAndSize(<char*>reader.out.data, reader.out.used)
        if problem == NO_MEMORY:
            raise MemoryError
        if problem == NOT_JSON:
            offset = reader.text.at - <const uint8_t*>PyBytes_AS_STRING(text)
            raise Malformed(f"not JSON: stopped at byte {offset} of {len(text)}")
        raise Malformed(f"{place_of(&reader) or 'the request'}: {_PROBLEMS[problem]}")
    finally:
        free(reader.out.data)
        free(reader.text.scratch.data)
