from libc.stdint cimport uint64_t

from processors.tail_sampling.arena cimport Arena


cdef class VerdictTable:
    cdef Arena sampled
    cdef Arena not_sampled
    cdef uint64_t sampled_limit
    cdef uint64_t not_sampled_limit
    cdef uint64_t settled_position
    cdef uint64_t late_hi
    cdef uint64_t late_lo

    cdef int follow(self, uint64_t hi, uint64_t lo, uint64_t needed_until) noexcept nogil
    cdef void evict(self, Arena *arena, uint64_t limit) noexcept nogil
