"""Writes the samples of data points."""

from libc.stdint cimport int64_t, uint32_t

from exporters.prometheus_remote_write.buckets cimport Buckets
from exporters.prometheus_remote_write.exemplars cimport Exemplars
from exporters.prometheus_remote_write.families cimport Names
from exporters.prometheus_remote_write.labeller cimport Labeller
from exporters.prometheus_remote_write.points cimport Numbers, Point
from exporters.prometheus_remote_write.samples cimport SampleTable
from exporters.prometheus_remote_write.series cimport Labels
from exporters.wire.buffer cimport Buffer


cdef class Emitter:
    cdef SampleTable table
    cdef Labeller labeller
    cdef Exemplars exemplars
    cdef Point* point        # the current one, owned by the translator
    cdef Names metric
    cdef uint32_t row
    cdef size_t first        # the point's first sample
    cdef object bound
    cdef dict bounds
    cdef uint32_t le, quantile
    cdef Buffer blob
    cdef uint32_t* heads
    cdef size_t heads_room
    cdef Numbers known_bounds
    cdef uint32_t* known_texts
    cdef size_t known_room
    cdef bint knows_bounds

    cdef int begin(self, SampleTable table) except -1
    cdef int emit(
        self, Labels* labels, uint32_t name, uint32_t extra, uint32_t value_symbol, uint32_t at, bint replaces,
        int64_t time, double value, int64_t created
    ) except -1
    cdef int emit_number(self, Labels* labels, int64_t time, int64_t created) except -1
    cdef int emit_histogram(self, Labels* labels, int64_t time, int64_t created) except -1
    cdef int emit_summary(self, Labels* labels, int64_t time, int64_t created) except -1
    cdef int emit_exponential(self, Labels* labels, int64_t time, int64_t created) except -1
    cdef int text_bounds(self, size_t bounds) except -1
    cdef int sort_exemplars(self, size_t bounds) except -1
    cdef int put_buckets(self, Buckets* buckets, uint32_t spans, uint32_t deltas) except -1
    cdef int add_exemplar(self, size_t number) except -1
