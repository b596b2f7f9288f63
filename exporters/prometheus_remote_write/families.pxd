"""The families of metrics, by what a request says of them."""

cimport cython
from libc.stdint cimport uint32_t

from exporters.prometheus_remote_write.request cimport Text
from exporters.prometheus_remote_write.series cimport SeriesTable

cdef enum:
    # MetricType of both versions
    COUNTER = 1
    GAUGE_FAMILY = 2
    HISTOGRAM_FAMILY = 3
    SUMMARY_FAMILY = 5
    INFO = 6


cdef struct Names:
    uint32_t family, base, bucket, sum, count


@cython.final
cdef class Families:
    cdef object translated
    cdef SeriesTable table
    cdef dict known

    cdef int begin(self, SeriesTable table) except -1
    cdef int name(self, Text* name, Text* about, Text* unit, uint32_t kind, bint counter, Names* names) except -1
