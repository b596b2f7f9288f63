from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint32_t

cdef enum:
    NUMBERS = 64             # field numbers of OTLP are below

cdef enum Kind:
    INT32
    INT64
    UINT32
    UINT64
    SINT32
    SINT64
    FIXED_UINT32
    FIXED_UINT64
    FIXED_INT32
    FIXED_INT64
    BOOL
    ENUM
    DOUBLE
    STRING
    BASE64
    HEX                      # trace and span ids
    MESSAGE

cdef struct EnumValue:
    const char* name
    size_t size
    int32_t number

cdef struct EnumInfo:
    EnumValue* values
    int count

cdef struct FieldInfo:
    uint32_t number
    uint32_t wire            # of one value; repeated numbers may be packed too
    Kind kind
    bint repeated
    bint presence            # written even with the default value: oneof members and `optional`
    int8_t oneof             # which of the message's real oneofs, or -1
    uint8_t id_size          # bytes of a HEX id
    int slot                 # its place among the message's fields
    MessageInfo* message
    EnumInfo* values
    const char* name         # camelCase
    size_t name_size
    const char* snake
    size_t snake_size
    const char* member       # `"camelCase":`
    size_t member_size

cdef struct MessageInfo:
    FieldInfo* fields
    int count
    bint is_any_value
    int16_t[NUMBERS] slots   # by field number; -1: unknown

cdef MessageInfo* request_info(object signal) except NULL
