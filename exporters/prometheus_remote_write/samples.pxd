"""The samples and exemplars of one staged request, and what becomes of its data points."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from exporters.prometheus_remote_write.series cimport SeriesTable
from exporters.wire.buffer cimport Buffer


cdef struct Sample:
    int64_t time             # ms
    int64_t created          # ms, 0 where it isn't known
    double value
    uint32_t series
    uint32_t row             # NONE where no data point stands behind it
    uint32_t histogram       # offset in `blobs`, NONE for a float
    uint32_t size            # of the blob
    uint32_t exemplar        # the last one, NONE without


cdef struct Exemplar:
    int64_t time
    double value
    uint32_t pairs, count
    uint32_t before          # the one before it in the same sample


@cython.final
cdef class SampleTable(SeriesTable):
    cdef Buffer blobs
    cdef Sample* samples
    cdef size_t sample_count, sample_room
    cdef Exemplar* exemplars
    cdef size_t exemplar_count, exemplar_room
    cdef uint8_t* reasons
    cdef size_t row_count, row_room
    cdef uint32_t* order
    cdef size_t order_count
    cdef readonly list lanes
    cdef readonly int exemplars_cut
    cdef readonly int duplicates
    cdef readonly int infos_refused

    cdef Sample* sample(
        self, uint32_t series, int64_t time, double value, int64_t created, uint32_t row
    ) except NULL
    cdef Exemplar* new_exemplar(self, size_t labels) except NULL
    cdef int forget(self, size_t first) except -1
    cdef int next_row(self) except -1
    cdef int refuse(self, uint32_t row, uint8_t reason) except -1
    cdef int arrange(self, uint32_t lanes) except -1
    cdef int settle(self, uint32_t count, uint32_t* kept) except -1
