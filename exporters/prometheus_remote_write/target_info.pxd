"""What a resource is, as a sample of its own."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from exporters.prometheus_remote_write.samples cimport SampleTable
from exporters.prometheus_remote_write.series cimport Labels

cdef enum:
    TARGET_EVERY = 60000     # ms between two samples of one target_info; queries look back for 300000


@cython.final
cdef class TargetInfo:
    cdef bytes name
    cdef SampleTable table
    cdef uint32_t symbol, family
    cdef dict times          # ms of the last sample, by the hashes of the labels

    cdef int begin(self, SampleTable table) except -1
    cdef int add(self, Labels* labels, int64_t time) except -1
