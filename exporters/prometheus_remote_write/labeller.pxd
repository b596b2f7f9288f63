"""Makes the labels of series."""

cimport cython
from libc.stdint cimport uint32_t

from exporters.prometheus_remote_write.labels cimport Attributes
from exporters.prometheus_remote_write.points cimport Spans
from exporters.prometheus_remote_write.series cimport Labels, Pair, SeriesTable
from exporters.prometheus_remote_write.shared_labels cimport SharedLabels


@cython.final
cdef class Labeller(SharedLabels):
    cdef list external_labels
    cdef bint resource_labels
    # All but `chosen` and `own` stay sorted by name and key. Attributes win against `external`.
    cdef Attributes own, merged, external, chosen
    cdef Pair* pairs
    cdef size_t pair_room

    cdef int begin(self, SeriesTable table) except -1
    cdef int of_point(self, Spans* attributes, Labels* labels) except -1
    cdef bint of_target(self, Labels* labels) except -1
    cdef uint32_t place_of(self, Labels* labels, uint32_t name, bint* replaces) noexcept
    cdef int merge_resource(self) except -1
    cdef int finish_labels(self, Attributes* list, Labels* labels) except -1
    cdef int pair_room_for(self, size_t count) except -1
