"""Makes the labels of series."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from exporters.prometheus_remote_write.labels cimport Attribute, Attributes, Text
from exporters.prometheus_remote_write.points cimport Spans
from exporters.prometheus_remote_write.series cimport Labels, Pair, SeriesTable
from exporters.wire.buffer cimport Buffer


cdef class Labeller:
    cdef SeriesTable table
    cdef object render
    cdef list external_labels
    cdef bint utf8, resource_labels, scope_labels
    cdef Buffer scratch, joined
    # All but `chosen` and `own` stay sorted by name and key. `fixed` wins against attributes, these against `external`.
    cdef Attributes own, resource, scope, merged, fixed, external, chosen
    cdef Pair* pairs
    cdef size_t pair_room
    cdef uint32_t trace_id, span_id

    cdef int begin(self, SeriesTable table) except -1
    cdef int begin_resource(self, const uint8_t* at, const uint8_t* end) except -1
    cdef int begin_scope(self, const uint8_t* at, const uint8_t* end) except -1
    cdef int end_scope(self) except -1
    cdef int of_point(self, Spans* attributes, Labels* labels) except -1
    cdef bint of_target(self, Labels* labels) except -1
    cdef uint64_t of_exemplar(self, const uint8_t* at, const uint8_t* end, int* cut) except? 18446744073709551615
    cdef uint32_t place_of(self, Labels* labels, uint32_t name, bint* replaces) noexcept
    cdef int read_label(self, Attributes* list, const uint8_t* at, const uint8_t* end) except -1
    cdef Attribute* attribute(self, Attributes* list, bytes key) noexcept
    cdef int join(self, uint32_t symbol) except -1
    cdef int prefix_scope(self) except -1
    cdef int add_scope(self, bytes name, uint32_t value) except -1
    cdef size_t alike(self, Attributes* list, size_t first) noexcept
    cdef uint32_t value_of(self, Attributes* list, size_t first, size_t end) except? 4294967295
    cdef int pair_room_for(self, size_t count) except -1
    cdef int merge_resource(self) except -1
    cdef int finish_labels(self, Attributes* list, Labels* labels) except -1
    cdef uint32_t hex(self, Text* identifier) except? 4294967295
