from processors.cardinality_limiter.aggregate cimport Aggregate
from processors.cardinality_limiter.out cimport Out


cdef int encode_point(Aggregate aggregate, Out *out) except -1
