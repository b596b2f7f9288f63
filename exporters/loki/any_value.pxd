"""`AnyValue` and `KeyValue` as protobuf would read them, written as text or JSON."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from exporters.loki.text cimport put_base64, put_double, put_json_string, put_signed
from exporters.wire.buffer cimport Buffer, put, put_byte
from exporters.wire.fields cimport BYTES, FIXED64, VARINT, Field, read_field

cdef enum:
    ABSENT = 0
    STRING = 1
    BOOL = 2
    INT = 3
    DOUBLE = 4
    ARRAY = 5
    KVLIST = 6
    BLOB = 7
    MOST_DEPTH = 64          # receivers let 32 through


cdef struct Span:
    const uint8_t* at
    size_t size


cdef struct Value:
    int kind                 # the number of the field in AnyValue
    Span text                # of STRING and BLOB
    uint64_t number          # of BOOL, INT and DOUBLE (its bits)
    Span run                 # of ARRAY and KVLIST: the AnyValue from the first of its fields on that are merged


cdef inline int malformed() except -1:
    raise ValueError("the payload isn't OTLP")


cdef inline int read_value(Span message, Value* value) except -1:
    """The member of the oneof that holds: the last one; of a message that is repeated in a row, all of them."""
    cdef const uint8_t* at = message.at
    cdef const uint8_t* end = at + message.size
    cdef Field field
    cdef int wire
    value.kind = ABSENT
    while at < end:
        if read_field(at, end, &field) < 0:
            malformed()
        at = field.after
        if field.number == 8 and field.wire == VARINT:  # an index into profiles' strings: nothing in a log
            value.kind = ABSENT
        if field.number < STRING or field.number > BLOB:
            continue
        wire = BYTES
        if field.number == DOUBLE:
            wire = FIXED64
        elif field.number == BOOL or field.number == INT:
            wire = VARINT
        if <int>field.wire != wire:
            continue
        if field.number == ARRAY or field.number == KVLIST:
            if value.kind != <int>field.number:
                value.run.at = field.start
                value.run.size = end - field.start
        elif wire == BYTES:
            value.text.at = field.body
            value.text.size = field.after - field.body
        elif wire == FIXED64:
            memcpy(&value.number, field.body, 8)
        else:
            value.number = field.value
        value.kind = <int>field.number
    return 0


cdef inline Span joined(Span first, Span second, list keep):
    """Two occurrences of a message one behind the other, which is how protobuf merges them. `keep` owns them."""
    cdef bytes both = PyBytes_FromStringAndSize(NULL, first.size + second.size)
    cdef Span result
    memcpy(PyBytes_AS_STRING(both), first.at, first.size)
    memcpy(PyBytes_AS_STRING(both) + first.size, second.at, second.size)
    keep.append(both)
    result.at = <const uint8_t*>PyBytes_AS_STRING(both)
    result.size = first.size + second.size
    return result


cdef inline int read_pair(Span message, Span* key, Span* value, list keep) except -1:
    """A `KeyValue`. `value.at` is NULL where it has none."""
    cdef const uint8_t* at = message.at
    cdef const uint8_t* end = at + message.size
    cdef Field field
    cdef Span found
    key.at = at
    key.size = 0
    value.at = NULL
    value.size = 0
    while at < end:
        if read_field(at, end, &field) < 0:
            malformed()
        at = field.after
        if field.wire != BYTES:
            continue
        found.at = field.body
        found.size = field.after - field.body
        if field.number == 1:
            key[0] = found
        elif field.number == 2:
            value[0] = found if value.at == NULL else joined(value[0], found, keep)
    return 0


cdef inline int put_value(Buffer* out, Value* value, bint json, list keep, int depth) except -1:
    """The value as JSON, or as text: strings without quotes, bytes in base64, nothing for an absent one."""
    if value.kind == STRING:
        if json:
            return put_json_string(out, value.text.at, value.text.size)
        return put(out, value.text.at, value.text.size)
    if value.kind == BOOL:
        return put(out, <const char*>b"true", 4) if value.number else put(out, <const char*>b"false", 5)
    if value.kind == INT:
        return put_signed(out, <int64_t>value.number)
    if value.kind == DOUBLE:
        return put_double(out, as_double(value.number), json)
    if value.kind == BLOB:
        if json:
            put_byte(out, c'"')
        put_base64(out, value.text.at, value.text.size)
        return put_byte(out, c'"') if json else 0
    if value.kind == ABSENT:
        return put(out, <const char*>b"null", 4) if json else 0
    return put_elements(out, value, keep, depth)


cdef inline double as_double(uint64_t bits) noexcept nogil:
    cdef double value
    memcpy(&value, &bits, 8)
    return value


cdef inline int put_elements(Buffer* out, Value* value, list keep, int depth) except -1:
    """An array or a list of pairs in JSON."""
    cdef const uint8_t* at = value.run.at
    cdef const uint8_t* end = at + value.run.size
    cdef const uint8_t* inner
    cdef Field field, element
    cdef Span message, key
    cdef Value one
    cdef bint pairs = value.kind == KVLIST, first = True
    if depth >= MOST_DEPTH:
        malformed()
    put_byte(out, c"{" if pairs else c"[")
    while at < end:
        if read_field(at, end, &field) < 0:
            malformed()
        at = field.after
        if <int>field.number != value.kind or field.wire != BYTES:
            continue
        inner = field.body
        while inner < field.after:
            if read_field(inner, field.after, &element) < 0:
                malformed()
            inner = element.after
            if element.number != 1 or element.wire != BYTES:
                continue
            if not first:
                put_byte(out, c",")
            first = False
            message.at = element.body
            message.size = element.after - element.body
            if pairs:
                read_pair(message, &key, &message, keep)
                put_json_string(out, key.at, key.size)
                put_byte(out, c":")
            read_value(message, &one)
            put_value(out, &one, True, keep, depth + 1)
    return put_byte(out, c"}" if pairs else c"]")
