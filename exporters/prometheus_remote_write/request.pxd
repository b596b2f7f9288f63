"""The fields of a request, one after the other. Raises `ValueError` where it isn't OTLP."""

from libc.stdint cimport uint8_t

from exporters.wire.fields cimport Field, read_field


cdef struct Text:
    const uint8_t* begin
    size_t size


cdef inline object malformed():
    return ValueError("the request is not OTLP")


cdef inline int next_field(const uint8_t* at, const uint8_t* end, Field* field) except -1:
    if read_field(at, end, field) < 0:
        raise malformed()
    return 0
