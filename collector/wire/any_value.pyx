"""`KeyValue` and `AnyValue` of OTLP as Python values, and back."""

from collections.abc import Mapping

from collector.wire.scan import Malformed

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from collector.wire.fields cimport BYTES, FIXED64, VARINT, Field, read_field, write_varint

cdef enum:
    KEY = 0x0A
    VALUE = 0x12
    ELEMENT = 0x0A           # ArrayValue.values and KeyValueList.values


cdef int read_key_value(const uint8_t* at, const uint8_t* end, KeyValue* found) except -1:
    cdef Field field
    found.key = found.value = NULL
    found.key_size = found.value_size = 0
    found.values = 0
    while at < end:
        if read_field(at, end, &field) < 0:
            raise Malformed("not an attribute")
        at = field.after
        if field.wire != BYTES:
            continue
        if field.number == 1:
            found.key = field.body
            found.key_size = field.value
        elif field.number == 2:
            found.value = field.body
            found.value_size = field.value
            found.values += 1
    return 0


cdef value_of(const KeyValue* attribute, const uint8_t* at, const uint8_t* end, int depth):
    """The value of an attribute that was read from the bytes from `at` to `end`."""
    cdef Field field
    cdef list parts
    cdef bytes joined
    if attribute.values == 0:
        return None
    if attribute.values == 1:
        return decode_value(attribute.value, attribute.value + attribute.value_size, depth)
    parts = []
    while at < end:
        if read_field(at, end, &field) < 0:
            raise Malformed("not an attribute")
        at = field.after
        if field.number == 2 and field.wire == BYTES:
            parts.append(PyBytes_FromStringAndSize(<const char*>field.body, field.value))
    joined = b"".join(parts)                 # which parses as their merger
    at = <const uint8_t*>PyBytes_AS_STRING(joined)
    return decode_value(at, at + PyBytes_GET_SIZE(joined), depth)


cdef str decode_text(const uint8_t* at, Py_ssize_t size):
    if size == 0:
        return ""
    try:
        return PyUnicode_DecodeUTF8(<const char*>at, size, NULL)
    except UnicodeDecodeError:
        raise Malformed("a string is not UTF-8") from None


cdef extend_list(list values, const uint8_t* at, const uint8_t* end, int depth):
    cdef Field field
    while at < end:
        if read_field(at, end, &field) < 0:
            raise Malformed("not an array value")
        at = field.after
        if field.number == 1 and field.wire == BYTES:
            values.append(decode_value(field.body, field.after, depth))


cdef extend_dict(dict values, const uint8_t* at, const uint8_t* end, int depth):
    cdef Field field
    cdef KeyValue entry
    while at < end:
        if read_field(at, end, &field) < 0:
            raise Malformed("not a list of attributes")
        at = field.after
        if field.number == 1 and field.wire == BYTES:
            read_key_value(field.body, field.after, &entry)
            values[decode_text(entry.key, entry.key_size)] = value_of(&entry, field.body, field.after, depth)


cdef decode_value(const uint8_t* at, const uint8_t* end, int depth):
    """An `AnyValue`; of several members the last counts, and arrays and lists in a row merge, as protobuf has it."""
    cdef Field field
    cdef uint32_t member = 0
    cdef int64_t integer
    cdef double number
    value = None
    if depth <= 0:
        raise Malformed("a value is nested too deep")
    while at < end:
        if read_field(at, end, &field) < 0:
            raise Malformed("not an attribute's value")
        at = field.after
        if field.wire == BYTES:
            if field.number == 1:
                value = decode_text(field.body, field.value)
            elif field.number == 5:
                if member != 5:
                    value = []
                extend_list(value, field.body, field.after, depth - 1)
            elif field.number == 6:
                if member != 6:
                    value = {}
                extend_dict(value, field.body, field.after, depth - 1)
            elif field.number == 7:
                value = PyBytes_FromStringAndSize(<const char*>field.body, field.value)
            else:
                continue
        elif field.wire == VARINT and field.number == 2:
            value = field.value != 0
        elif field.wire == VARINT and field.number == 3:
            integer = <int64_t>field.value
            value = integer
        elif field.wire == FIXED64 and field.number == 4:
            memcpy(&number, &field.value, 8)
            value = number
        else:
            continue
        member = field.number
    return value


cdef bytes encode_varint(value):
    """`value` is an int of 64 bits, signed or not."""
    cdef uint8_t[10] out
    cdef uint64_t bits = <uint64_t><int64_t>value if value < 0 else value
    return PyBytes_FromStringAndSize(<char*>out, write_varint(out, bits) - out)


cdef bytes encode_field(uint32_t tag, bytes body):
    """A length-delimited field."""
    cdef uint8_t[20] header
    cdef uint8_t* at = write_varint(write_varint(header, tag), PyBytes_GET_SIZE(body))
    return PyBytes_FromStringAndSize(<char*>header, at - header) + body


cdef bytes encode_value(value, int depth):
    """The body of an `AnyValue`. Raises `TypeError` and `ValueError` for what it cannot hold."""
    cdef double number
    cdef uint8_t[9] fixed
    if depth <= 0:
        raise ValueError(f"attribute values nest {DEEPEST} deep at most")
    if value is None:
        return b""
    if isinstance(value, str):
        return encode_field(0x0A, (<str>value).encode())
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if not -2**63 <= value < 2**63:
            raise ValueError("an attribute's integer has 64 bits")
        return b"\x18" + encode_varint(value)
    if isinstance(value, float):
        number = value
        fixed[0] = 0x21
        memcpy(&fixed[1], &number, 8)
        return PyBytes_FromStringAndSize(<char*>fixed, 9)
    if isinstance(value, bytes):
        return encode_field(0x3A, bytes(value))
    if isinstance(value, (list, tuple)):
        return encode_field(0x2A, b"".join([encode_field(ELEMENT, encode_value(item, depth - 1)) for item in value]))
    if isinstance(value, Mapping):
        entries = []
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError("the keys of attributes are strings")
            entry = encode_field(KEY, (<str>key).encode()) + encode_field(VALUE, encode_value(item, depth - 1))
            entries.append(encode_field(ELEMENT, entry))
        return encode_field(0x32, b"".join(entries))
    raise TypeError(f"an attribute cannot hold a {type(value).__name__}")
