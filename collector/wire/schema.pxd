"""What `validate` looks into, and the check of it. The commonest message of all, KeyValue, is checked inline."""

from libc.stdint cimport uint8_t, uint64_t

from collector.wire.utf8 cimport is_ascii
from collector.wire.varint cimport read_varint

cdef enum Message:
    REQUEST
    RESOURCE_SPANS
    SCOPE_SPANS
    SPAN
    EVENT
    LINK
    STATUS
    RESOURCE
    SCOPE
    ENTITY_REF
    KEY_VALUE
    ANY_VALUE
    ARRAY_VALUE
    KEY_VALUE_LIST
    METRICS_REQUEST
    RESOURCE_METRICS
    SCOPE_METRICS
    METRIC
    GAUGE
    SUM
    HISTOGRAM
    EXPONENTIAL_HISTOGRAM
    SUMMARY
    NUMBER_POINT
    HISTOGRAM_POINT
    EXPONENTIAL_POINT
    SUMMARY_POINT
    BUCKETS
    QUANTILE
    EXEMPLAR
    LOGS_REQUEST
    RESOURCE_LOGS
    SCOPE_LOGS
    LOG_RECORD
    MESSAGES        # how many there are

cdef enum Fault:
    SOUND
    CORRUPT
    NOT_UTF8
    TOO_DEEP
    TOO_MANY
    NO_MEMORY

cdef int check_message(
    Message message, const uint8_t* p, const uint8_t* end, int levels, int values
) noexcept nogil


cdef inline const uint8_t* text_of_common(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """For a KeyValue as every SDK writes it (key, then a scalar value, one-byte lengths): where its text ends; or NULL.

    All its tags and lengths are below 0x80, so that it is sound if nothing from `p` to there has the high bit. What
    follows, if anything, is a number that has been looked at.
    """
    cdef Py_ssize_t size = end - p
    cdef Py_ssize_t key, value
    cdef const uint8_t* v
    cdef uint64_t number = 0
    if size < 6 or p[0] != 0x0a:
        return NULL
    key = p[1]
    value = size - key - 4
    if value < 2 or value > 127 or key > 127:
        return NULL
    v = p + 2 + key
    if v[0] != 0x12 or v[1] != value:
        return NULL
    if v[2] == 0x0a:                                    # string_value
        return end if v[3] == value - 2 else NULL
    if v[2] == 0x18 or v[2] == 0x10:                    # int_value, bool_value
        if value == 2:
            return end if v[3] < 0x80 else NULL
        return v + 3 if read_varint(v + 3, end, &number) == end else NULL
    if v[2] == 0x21:                                    # double_value
        return v + 3 if value == 9 else NULL
    return NULL


cdef inline int check_key_value(const uint8_t* p, const uint8_t* end, int levels, int values) noexcept nogil:
    cdef const uint8_t* text_end = text_of_common(p, end)
    if text_end != NULL and values > 0 and levels > 0 and is_ascii(p, text_end - p):
        return SOUND
    return check_message(KEY_VALUE, p, end, levels, values)
