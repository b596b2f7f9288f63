from libc.stdint cimport uint8_t, uint32_t

from processors.cardinality_limiter.known cimport Group, Label
from processors.cardinality_limiter.out cimport Out
from processors.cardinality_limiter.saved cimport Saved
from processors.cardinality_limiter.siphash cimport Hash
from processors.wire.fields cimport Field

cdef enum:
    MOST_ATTRIBUTES = 128    # of one point that can be removed one by one

cdef struct Attribute:
    Hash hash
    const uint8_t *start     # of the field
    const uint8_t *after
    const uint8_t *key
    size_t key_size
    bint offending


cdef class Admission(Saved):
    """Whether one point's series is within the limits."""
    cdef Out scratch
    # of the metric:
    cdef Group group
    cdef uint32_t group_number
    cdef int kind
    # of the point:
    cdef Attribute[MOST_ATTRIBUTES] attributes
    cdef uint32_t attribute_count
    cdef uint32_t attributes_read            # of an earlier point of the request
    cdef bint crowded                        # there are more
    cdef bint overflowed                     # by its sender
    cdef Hash sum
    cdef int limit
    cdef int action

    cdef int read_attribute(self, const Field *field, Attribute *attribute) except -1
    cdef int read_odd_attribute(self, const Field *message, Attribute *attribute) except -1
    cdef int read_attributes(self, const Field *message) except -1
    cdef bint may_pass(self) except -1
    cdef Label find_label(self, const Attribute *attribute, Hash *hashed)
    cdef int see_labels(self) except -1
    cdef bint admit(self, Hash hashed) except -1
    cdef int mark_labels(self) except -1
    cdef int count_refused(self, int limit, int action) except -1
    cdef int note_offence(self, Hash hashed) except -1
