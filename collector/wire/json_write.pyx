"""OTLP protobuf bytes to OTLP/JSON text, in one walk and without the GIL.

The text can be seven times its source, so it can also be had in pieces: whatever writes only appends, and what is
written already may leave.
"""

from collector.wire.scan import Malformed

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.math cimport isinf, isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, strlen

from collector.wire.buffer cimport Buffer, put, put_byte, reserve
from collector.wire.fields cimport BYTES, FIXED32, FIXED64, VARINT, Field, read_field
from collector.wire.json_tables cimport (
    BASE64, BOOL, DOUBLE, ENUM, FIXED_INT32, FIXED_INT64, FIXED_UINT32, HEX, INT32, INT64, MESSAGE,
    NUMBERS, SINT32, SINT64, STRING, UINT32, FieldInfo, MessageInfo, request_info,
)
from collector.wire.utf8 cimport is_utf8
from collector.wire.varint cimport MAX_LEVELS, load_le32, load_le64, read_varint

cdef extern from "Python.h":
    char* PyOS_double_to_string(double value, char format_code, int precision, int flags, int* type) except NULL
    enum:
        Py_DTSF_ADD_DOT_0

cdef enum Problem:
    OK = 0
    MALFORMED = -1
    NO_MEMORY = -2
    REFUSED = -3             # by the taker of the pieces

cdef enum:
    PIECE = 1 << 18          # bytes from which on what is written leaves
    STRIDE = 3 << 14         # bytes of a value that are turned into text at once


cdef struct Output:
    Buffer text              # first, so that a pointer to it is one to the whole
    void* take               # NULL, or a Python function of bytes that says whether to go on


cdef int pass_on(Buffer* out) noexcept nogil:
    """Hand the text over that is there. `out` is the buffer of an `Output`."""
    cdef Output* output = <Output*>out
    cdef bint more = False
    if output.take == NULL:
        return OK
    with gil:
        try:
            more = (<object>output.take)(PyBytes_FromStringAndSize(<char*>out.data, out.used))
        except MemoryError:
            return NO_MEMORY
        except Exception:                    # the function keeps its own
            pass
    out.used = 0
    return OK if more else REFUSED


cdef inline int relieve(Buffer* out) noexcept nogil:
    return pass_on(out) if out.used >= PIECE else OK


cdef inline const FieldInfo* known_field(const MessageInfo* message, const Field* field) noexcept nogil:
    """The field's description, or NULL when it is unknown or has a wire type that makes it so."""
    cdef const FieldInfo* info
    if field.number >= NUMBERS or message.slots[field.number] < 0:
        return NULL
    info = &message.fields[message.slots[field.number]]
    if field.wire == info.wire or (info.repeated and field.wire == BYTES):
        return info
    return NULL


cdef int put_run(Buffer* out, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Bytes as they are, a stride at a time."""
    cdef size_t size
    cdef int problem
    while at < end:
        size = min(<size_t>(end - at), <size_t>PIECE)
        if put(out, at, size) < 0:
            return NO_MEMORY
        at += size
        problem = relieve(out)
        if problem != OK:
            return problem
    return OK


cdef int put_text(Buffer* out, const uint8_t* at, size_t size) noexcept nogil:
    """A JSON string: quotes, backslashes and controls escaped, all else as it is."""
    cdef const char* hexadecimal = b"0123456789abcdef"
    cdef const uint8_t* end = at + size
    cdef const uint8_t* run = at
    cdef uint8_t[6] escape
    cdef uint8_t c
    cdef size_t length
    cdef int problem
    if not is_utf8(at, size):
        return MALFORMED
    if put_byte(out, c'"') < 0:
        return NO_MEMORY
    escape[0] = c'\\'
    while at < end:
        c = at[0]
        at += 1
        if c >= 0x20 and c != c'"' and c != c'\\':
            continue
        length = 2
        if c == c'\n':
            escape[1] = c'n'
        elif c == c'\t':
            escape[1] = c't'
        elif c == c'\r':
            escape[1] = c'r'
        elif c >= 0x20:
            escape[1] = c
        else:
            escape[1] = c'u'
            escape[2] = escape[3] = c'0'
            escape[4] = c'0' + (c >> 4)
            escape[5] = <uint8_t>hexadecimal[c & 15]
            length = 6
        problem = put_run(out, run, at - 1)
        if problem == OK and put(out, escape, length) < 0:
            problem = NO_MEMORY
        if problem == OK:
            problem = relieve(out)
        if problem != OK:
            return problem
        run = at
    problem = put_run(out, run, end)
    if problem != OK:
        return problem
    return put_byte(out, c'"')


cdef int hex_stride(Buffer* out, const uint8_t* at, size_t size) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef uint8_t* to
    cdef size_t i
    if reserve(out, 2 * size) < 0:
        return NO_MEMORY
    to = out.data + out.used
    for i in range(size):
        to[2 * i] = <uint8_t>digits[at[i] >> 4]
        to[2 * i + 1] = <uint8_t>digits[at[i] & 15]
    out.used += 2 * size
    return OK


cdef int base64_stride(Buffer* out, const uint8_t* at, size_t size) noexcept nogil:
    cdef const char* digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef uint8_t* to
    cdef size_t i
    cdef uint32_t group
    if reserve(out, (size + 2) // 3 * 4) < 0:
        return NO_MEMORY
    to = out.data + out.used
    for i in range(0, size, 3):
        group = <uint32_t>at[i] << 16
        if i + 1 < size:
            group |= <uint32_t>at[i + 1] << 8
        if i + 2 < size:
            group |= at[i + 2]
        to[0] = <uint8_t>digits[group >> 18]
        to[1] = <uint8_t>digits[group >> 12 & 63]
        to[2] = <uint8_t>digits[group >> 6 & 63] if i + 1 < size else c'='
        to[3] = <uint8_t>digits[group & 63] if i + 2 < size else c'='
        to += 4
    out.used = to - out.data
    return OK


cdef int put_coded(Buffer* out, const uint8_t* at, size_t size, bint hexadecimal) noexcept nogil:
    """Bytes as a JSON string of hex digits, or of base64: a stride at a time, which base64's groups of 3 divide."""
    cdef size_t stride
    cdef int problem
    if put_byte(out, c'"') < 0:
        return NO_MEMORY
    while size:
        stride = min(size, <size_t>STRIDE)
        problem = hex_stride(out, at, stride) if hexadecimal else base64_stride(out, at, stride)
        if problem == OK:
            problem = relieve(out)
        if problem != OK:
            return problem
        at += stride
        size -= stride
    return put_byte(out, c'"')


cdef int put_integer(Buffer* out, uint64_t magnitude, bint negative, bint quoted) noexcept nogil:
    cdef uint8_t[24] text
    cdef int at = 24
    if quoted:
        at -= 1
        text[at] = c'"'
    while True:
        at -= 1
        text[at] = <uint8_t>(c'0' + magnitude % 10)
        magnitude //= 10
        if magnitude == 0:
            break
    if negative:
        at -= 1
        text[at] = c'-'
    if quoted:
        at -= 1
        text[at] = c'"'
    return put(out, &text[at], 24 - at)


cdef int put_signed(Buffer* out, int64_t value, bint quoted) noexcept nogil:
    return put_integer(out, <uint64_t>value if value >= 0 else 0 - <uint64_t>value, value < 0, quoted)


cdef int put_double(Buffer* out, uint64_t bits) noexcept nogil:
    """The shortest text that reads back as the same double; `NaN` and infinities as strings."""
    cdef double value
    cdef char* text
    cdef int problem
    memcpy(&value, &bits, 8)
    if isnan(value):
        return put(out, b'"NaN"', 5)
    if isinf(value):
        return put(out, b'"Infinity"', 10) if value > 0 else put(out, b'"-Infinity"', 11)
    with gil:
        try:
            text = PyOS_double_to_string(value, c'r', 0, Py_DTSF_ADD_DOT_0, NULL)
        except MemoryError:
            return NO_MEMORY
        problem = put(out, text, strlen(text))
        PyMem_Free(text)
    return problem


cdef int put_value(Buffer* out, const FieldInfo* info, const Field* field, int levels) noexcept nogil:
    """One value of a field, which has the wire type that its description says."""
    cdef uint64_t value = field.value
    if info.kind == STRING:
        return put_text(out, field.body, value)
    if info.kind == MESSAGE:
        return put_message(out, info.message, field.body, field.after, levels - 1)
    if info.kind == HEX:
        return put_coded(out, field.body, value, True)
    if info.kind == BASE64:
        return put_coded(out, field.body, value, False)
    if info.kind == BOOL:
        return put(out, b"true", 4) if value else put(out, b"false", 5)
    if info.kind == DOUBLE:
        return put_double(out, value)
    if info.kind == INT64 or info.kind == FIXED_INT64:
        return put_signed(out, <int64_t>value, True)
    if info.kind == SINT64:
        return put_signed(out, <int64_t>(value >> 1 ^ (0 - (value & 1))), True)
    if info.kind == INT32 or info.kind == ENUM or info.kind == FIXED_INT32:
        return put_signed(out, <int32_t>value, False)
    if info.kind == SINT32:
        value = <uint32_t>value
        return put_signed(out, <int32_t>(value >> 1 ^ (0 - (value & 1))), False)
    if info.kind == UINT32 or info.kind == FIXED_UINT32:
        return put_integer(out, <uint32_t>value, False, False)
    return put_integer(out, value, False, True)      # UINT64 and FIXED_UINT64


cdef int put_key(Buffer* out, const FieldInfo* info, bint* first) noexcept nogil:
    if not first[0] and put_byte(out, c',') < 0:
        return NO_MEMORY
    first[0] = False
    return put(out, info.member, info.member_size)


cdef bint is_default(const FieldInfo* info, const Field* field) noexcept nogil:
    """Whether a singular value is left out. What a 32-bit field has above 32 bits doesn't count."""
    if info.presence or info.kind == MESSAGE:
        return False
    if info.kind == INT32 or info.kind == UINT32 or info.kind == SINT32 or info.kind == ENUM:
        return <uint32_t>field.value == 0
    return field.value == 0


cdef int put_elements(
    Buffer* out, const FieldInfo* info, const Field* field, int levels, int* open_slot, bint* first
) noexcept nogil:
    """The values of one occurrence of a repeated field. The array stays open: the next occurrence may continue it."""
    cdef Field element
    cdef const uint8_t* at = field.body
    cdef int problem
    cdef bint packed = field.wire != info.wire
    if packed and at == field.after:
        return OK
    while True:
        if packed:
            element.body = at
            if info.wire == VARINT:
                at = read_varint(at, field.after, &element.value)
                if at == NULL:
                    return MALFORMED
            elif info.wire == FIXED64:
                if field.after - at < 8:
                    return MALFORMED
                element.value = load_le64(at)
                at += 8
            else:
                if info.wire != FIXED32 or field.after - at < 4:
                    return MALFORMED
                element.value = load_le32(at)
                at += 4
        if open_slot[0] == info.slot:
            problem = put_byte(out, c',')
        else:
            open_slot[0] = info.slot
            problem = put_key(out, info, first)
            if problem == OK:
                problem = put_byte(out, c'[')
        if problem == OK:
            if packed:
                problem = put_value(out, info, &element, levels)
            else:
                problem = put_value(out, info, field, levels)
        if problem != OK or not packed or at == field.after:
            return problem


cdef int inspect(const MessageInfo* message, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """1: every field occurs once, or in one run, so that the wire's order will do for JSON. Else 0, or MALFORMED."""
    cdef Field field
    cdef const FieldInfo* info
    cdef uint64_t seen = 0, oneofs = 0
    cdef int last = -1, tidy = 1
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        info = known_field(message, &field)
        if info == NULL:
            continue
        if seen >> info.slot & 1 and not (info.repeated and last == info.slot):
            tidy = 0
        seen |= <uint64_t>1 << info.slot
        if info.oneof >= 0:
            if oneofs >> info.oneof & 1:
                tidy = 0
            oneofs |= <uint64_t>1 << info.oneof
        last = info.slot
    return tidy


cdef int put_message(
    Buffer* out, const MessageInfo* message, const uint8_t* at, const uint8_t* end, int levels
) noexcept nogil:
    cdef Field field
    cdef const FieldInfo* info
    cdef int problem, open_slot = -1, tidy
    cdef bint first = True
    if levels < 0:
        return MALFORMED
    problem = relieve(out)
    if problem != OK:
        return problem
    tidy = inspect(message, at, end)
    if tidy < 0:
        return MALFORMED
    if not tidy:
        return put_untidy_message(out, message, at, end, levels)
    if put_byte(out, c'{') < 0:
        return NO_MEMORY
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        info = known_field(message, &field)
        if info == NULL:
            continue
        if open_slot >= 0 and open_slot != info.slot:
            open_slot = -1
            if put_byte(out, c']') < 0:
                return NO_MEMORY
        if info.repeated:
            problem = put_elements(out, info, &field, levels, &open_slot, &first)
        elif is_default(info, &field):
            continue
        else:
            problem = put_key(out, info, &first)
            if problem == OK:
                problem = put_value(out, info, &field, levels)
        if problem != OK:
            return problem
    if open_slot >= 0 and put_byte(out, c']') < 0:
        return NO_MEMORY
    return put_byte(out, c'}')


cdef int put_merged(
    Buffer* out, const FieldInfo* info, const MessageInfo* message, const uint8_t* at, const uint8_t* end, int levels
) noexcept nogil:
    """A singular message that occurs several times: protobuf merges them, which is what their joined bytes parse as."""
    cdef Buffer joined
    cdef Field field
    cdef int problem = OK
    joined.data = NULL
    joined.used = joined.room = 0
    while at < end and problem == OK:
        if read_field(at, end, &field) < 0:
            problem = MALFORMED
            break
        at = field.after
        if known_field(message, &field) == info:
            problem = put(&joined, field.body, field.value)
    if problem == OK:
        problem = put_message(out, info.message, joined.data, joined.data + joined.used, levels - 1)
    free(joined.data)
    return problem


cdef int put_gathered(
    Buffer* out, const MessageInfo* message, const FieldInfo* info, const uint8_t* at, const uint8_t* end, int levels,
    bint* first,
) noexcept nogil:
    """All occurrences of one field, wherever they are between `at` and `end`."""
    cdef const FieldInfo* other
    cdef const uint8_t* start = at
    cdef Field field, last
    cdef int open_slot = -1, problem
    cdef uint64_t times = 0
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        other = known_field(message, &field)
        if other == info:
            times += 1
            last = field
            if info.repeated:
                problem = put_elements(out, info, &field, levels, &open_slot, first)
                if problem != OK:
                    return problem
        elif other != NULL and info.oneof >= 0 and other.oneof == info.oneof:
            start = at                       # another member takes the place of what came before
            times = 0
    if info.repeated:
        return put_byte(out, c']') if open_slot >= 0 else OK
    if times == 0 or is_default(info, &last):
        return OK
    problem = put_key(out, info, first)
    if problem != OK:
        return problem
    if info.kind == MESSAGE and times > 1:
        return put_merged(out, info, message, start, end, levels)
    return put_value(out, info, &last, levels)


cdef int put_untidy_message(
    Buffer* out, const MessageInfo* message, const uint8_t* at, const uint8_t* end, int levels
) noexcept nogil:
    """A message whose repetitions must be brought together: one walk a field, so that it takes no memory."""
    cdef bint first = True
    cdef int slot, problem
    if put_byte(out, c'{') < 0:
        return NO_MEMORY
    for slot in range(message.count):
        problem = put_gathered(out, message, &message.fields[slot], at, end, levels, &first)
        if problem != OK:
            return problem
    return put_byte(out, c'}')


cdef int write_request(Output* output, bytes payload, signal) except -9:
    """The text of the request, in `output` as far as it isn't passed on. OK or REFUSED; raises `Malformed`."""
    cdef MessageInfo* message = request_info(signal)
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef Buffer* out = &output.text
    cdef int problem
    with nogil:
        problem = OK if reserve(out, PIECE if output.take != NULL else 2 * size + 16) == 0 else NO_MEMORY
        if problem == OK:
            problem = put_message(out, message, at, at + size, MAX_LEVELS)
        if problem == OK:
            problem = pass_on(out)
    if problem == MALFORMED:
        raise Malformed("not an OTLP request")
    if problem == NO_MEMORY:
        raise MemoryError
    return problem


def to_json(bytes payload not None, signal="traces"):
    cdef Output output
    output.take = NULL
    output.text.data = NULL
    output.text.used = output.text.room = 0
    try:
        write_request(&output, payload, signal)
        return PyBytes_FromStringAndSize(<char*>output.text.data, output.text.used)
    finally:
        free(output.text.data)


def write_json(bytes payload not None, write, signal="traces"):
    cdef Output output
    cdef list raised = []

    def take(piece):
        try:
            write(piece)
        except BaseException as error:  # no-cython-lint: raised again below
            raised.append(error)
        return not raised

    output.take = <void*>take
    output.text.data = NULL
    output.text.used = output.text.room = 0
    try:
        if write_request(&output, payload, signal) == REFUSED:
            raise raised[0]
    finally:
        free(output.text.data)
