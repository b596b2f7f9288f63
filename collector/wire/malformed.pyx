"""What a scan raises for what it finds wrong."""

from cpython.bytes cimport PyBytes_GET_SIZE

from collector.wire.malformed cimport LARGEST
from collector.wire.schema cimport CORRUPT, NO_MEMORY, NOT_UTF8, SOUND, TOO_DEEP, TOO_MANY

MAX_PAYLOAD = LARGEST


class Malformed(ValueError):
    pass


_FAULTS = {
    CORRUPT: "not an OTLP request: the protobuf encoding is broken",
    NOT_UTF8: "not an OTLP request: a string is not UTF-8",
    TOO_DEEP: "values are nested too deeply",
    TOO_MANY: "too many items in one request",
}


cdef int check_size(bytes payload) except -1:
    if PyBytes_GET_SIZE(payload) > <Py_ssize_t>LARGEST:
        raise Malformed("larger than the largest request that is indexed")
    return 0


cdef int raise_fault(int fault) except -1:
    if fault == NO_MEMORY:
        raise MemoryError
    if fault != SOUND:
        raise Malformed(_FAULTS[fault])
    return 0
