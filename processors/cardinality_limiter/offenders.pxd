from libc.stdint cimport uint8_t, uint32_t, uint64_t

from processors.cardinality_limiter.siphash cimport Hash


cdef class Offenders:
    """The metrics and labels whose series are refused most."""
    cdef uint8_t[:, ::1] registers
    cdef Hash[::1] keys
    cdef uint64_t[::1] weights
    cdef uint64_t[::1] points
    cdef uint8_t[::1] actions
    cdef list names
    cdef uint32_t most
    cdef uint32_t count
    cdef uint32_t last

    cdef int note(
        self, Hash key, bytes metric, const uint8_t *label, size_t label_size, uint8_t action, uint64_t hashed
    ) except -1
