from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    DEEPEST = 32             # values in one another, as `validate` allows by default


cdef struct KeyValue:
    const uint8_t* key       # NULL and 0: the empty key
    Py_ssize_t key_size
    const uint8_t* value     # the last `AnyValue`, NULL when there is none
    Py_ssize_t value_size
    int values               # how many there are; they merge


cdef int read_key_value(const uint8_t* at, const uint8_t* end, KeyValue* found) except -1
cdef object value_of(const KeyValue* attribute, const uint8_t* at, const uint8_t* end, int depth)
cdef object decode_value(const uint8_t* at, const uint8_t* end, int depth)
cdef str decode_text(const uint8_t* at, Py_ssize_t size)
cdef bytes encode_value(object value, int depth)
cdef bytes encode_field(uint32_t tag, bytes body)
cdef bytes encode_varint(object value)
