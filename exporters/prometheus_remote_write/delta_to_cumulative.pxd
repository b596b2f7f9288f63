"""Puts running totals in the place of deltas."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from exporters.prometheus_remote_write.accumulate cimport Accumulator
from exporters.prometheus_remote_write.points cimport Point
from exporters.prometheus_remote_write.reasons cimport Reason
from exporters.prometheus_remote_write.total cimport Total


@cython.final
cdef class DeltaToCumulative:
    cdef Accumulator totals
    cdef uint64_t latest     # time of all deltas: sums go stale by it, so that our own clock may step

    cdef Total* replace(self, Point* point, uint32_t kind, uint64_t lo, uint64_t hi, Reason* reason) except? NULL
    cdef int add(self, Total* total, Point* point, uint32_t kind) except -1
