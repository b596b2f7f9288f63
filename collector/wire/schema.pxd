from libc.stdint cimport uint8_t

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
    MESSAGES        # how many there are

cdef enum Fault:
    SOUND
    CORRUPT
    NOT_UTF8
    TOO_DEEP
    TOO_MANY_SPANS

cdef int check_message(
    Message message, const uint8_t* p, const uint8_t* end, int levels, int values
) noexcept nogil
cdef int check_key_value(const uint8_t* p, const uint8_t* end, int levels, int values) noexcept nogil
