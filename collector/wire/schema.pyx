"""Checks a message of OTLP traces all the way down, by a table of its `string` and message fields.

All other fields need no table: whatever their type says, upb takes a field of an unexpected wire type for an unknown
one, and skips it by its wire type like a scalar.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.schema cimport (
    ANY_VALUE, ARRAY_VALUE, CORRUPT, ENTITY_REF, EVENT, KEY_VALUE, KEY_VALUE_LIST, LINK, MESSAGES, NOT_UTF8,
    REQUEST, RESOURCE, RESOURCE_SPANS, SCOPE, SCOPE_SPANS, SOUND, SPAN, STATUS, TOO_DEEP, Message,
    check_key_value,
)
from collector.wire.utf8 cimport is_utf8
from collector.wire.varint cimport read_size, read_tag, skip_value

cdef enum:
    FIELDS = 16         # field numbers at or above this one are neither strings nor messages
    OPAQUE = 0xff
    STRING = 0xfe

cdef uint8_t[MESSAGES][FIELDS] content

_NAMES = {
    REQUEST: "collector.trace.v1.ExportTraceServiceRequest",
    RESOURCE_SPANS: "trace.v1.ResourceSpans",
    SCOPE_SPANS: "trace.v1.ScopeSpans",
    SPAN: "trace.v1.Span",
    EVENT: "trace.v1.Span.Event",
    LINK: "trace.v1.Span.Link",
    STATUS: "trace.v1.Status",
    RESOURCE: "resource.v1.Resource",
    SCOPE: "common.v1.InstrumentationScope",
    ENTITY_REF: "common.v1.EntityRef",
    KEY_VALUE: "common.v1.KeyValue",
    ANY_VALUE: "common.v1.AnyValue",
    ARRAY_VALUE: "common.v1.ArrayValue",
    KEY_VALUE_LIST: "common.v1.KeyValueList",
}
_CONTENT = {
    REQUEST: {1: RESOURCE_SPANS},
    RESOURCE_SPANS: {1: RESOURCE, 2: SCOPE_SPANS, 3: STRING},
    SCOPE_SPANS: {1: SCOPE, 2: SPAN, 3: STRING},
    SPAN: {3: STRING, 5: STRING, 9: KEY_VALUE, 11: EVENT, 13: LINK, 15: STATUS},
    EVENT: {2: STRING, 3: KEY_VALUE},
    LINK: {3: STRING, 4: KEY_VALUE},
    STATUS: {2: STRING},
    RESOURCE: {1: KEY_VALUE, 3: ENTITY_REF},
    SCOPE: {1: STRING, 2: STRING, 3: KEY_VALUE},
    ENTITY_REF: {1: STRING, 2: STRING, 3: STRING, 4: STRING},
    KEY_VALUE: {1: STRING, 2: ANY_VALUE},
    ANY_VALUE: {1: STRING, 5: ARRAY_VALUE, 6: KEY_VALUE_LIST},
    ARRAY_VALUE: {1: ANY_VALUE},
    KEY_VALUE_LIST: {1: KEY_VALUE},
}


cdef int fill_table() except -1:
    cdef int message, number
    for message in range(MESSAGES):
        for number in range(FIELDS):
            content[message][number] = _CONTENT[message].get(number, OPAQUE)
    return 0


fill_table()


def checked_fields():
    return {
        "opentelemetry.proto." + _NAMES[message]: {
            number: "string" if kind == STRING else "opentelemetry.proto." + _NAMES[kind]
            for number, kind in fields.items()
        }
        for message, fields in _CONTENT.items()
    }


cdef int check_message(
    Message message, const uint8_t* p, const uint8_t* end, int levels, int values
) noexcept nogil:
    """A `Fault`, or `SOUND`. `levels` more messages may begin inside of this one, and `values` more AnyValues."""
    cdef uint32_t tag = 0, number
    cdef uint64_t size = 0
    cdef uint8_t kind
    cdef int fault
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 != 2:
            p = skip_value(p, end, tag, levels)
            if p == NULL:
                return CORRUPT
            continue
        p = read_size(p, end, &size)
        if p == NULL:
            return CORRUPT
        number = tag >> 3
        kind = content[<int>message][number] if number < FIELDS else <uint8_t>OPAQUE
        if kind == STRING:
            if not is_utf8(p, size):
                return NOT_UTF8
        elif kind != OPAQUE:
            if levels < 1:
                return TOO_DEEP
            if kind == KEY_VALUE:
                fault = check_key_value(p, p + size, levels - 1, values)
            elif kind == ANY_VALUE:
                if values < 1:
                    return TOO_DEEP
                fault = check_message(ANY_VALUE, p, p + size, levels - 1, values - 1)
            else:
                fault = check_message(<Message>kind, p, p + size, levels - 1, values)
            if fault != SOUND:
                return fault
        p += size
    return SOUND
