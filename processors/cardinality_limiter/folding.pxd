from libc.stdint cimport uint32_t

from processors.cardinality_limiter.admission cimport Admission
from processors.cardinality_limiter.aggregate cimport Aggregate
from processors.cardinality_limiter.members cimport Member
from processors.cardinality_limiter.point cimport Point
from processors.cardinality_limiter.siphash cimport Hash
from processors.cardinality_limiter.table cimport Entry
from processors.wire.fields cimport Field

cdef enum:
    KEEP = 0                 # what becomes of a point
    FOLD = 1
    REMOVE = 2


cdef class Folding(Admission):
    """What becomes of a point whose series is over a limit."""
    cdef Point point
    cdef list touched                        # aggregates that have something to send
    # of the metric:
    cdef Hash stream
    cdef int temporality
    cdef bint monotonic

    cdef int refuse(self, const Field *message, Hash hashed) except -1
    cdef uint32_t reduced_aggregate(self) except? 0xFFFFFFFE
    cdef uint32_t overflow_aggregate(self) except? 0xFFFFFFFE
    cdef uint32_t add_aggregate(self, Hash hashed, bytes attributes, bint reduced) except? 0xFFFFFFFE
    cdef int fold_member(self, const Field *message, Entry *entry, uint32_t number) except -1
    cdef int fold(self, const Field *message, uint32_t number, Hash hashed) except -1
    cdef int read(self, const Field *message) except -1
    cdef int fold_into(self, const Field *message, Aggregate aggregate, Member *member) except -1
    cdef int take_exemplars(self, const Field *message, Aggregate aggregate) except -1
