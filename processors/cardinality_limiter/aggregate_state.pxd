from processors.cardinality_limiter.aggregate cimport Aggregate
from processors.cardinality_limiter.members cimport Member
from processors.cardinality_limiter.out cimport In, Out


cdef int write_aggregate(Aggregate aggregate, Out *out) except -1
cdef Aggregate read_aggregate(In *source)
cdef int write_member(const Member *member, Out *out) except -1
cdef int read_member(Aggregate aggregate, Member *made, In *source) except -1
