"""See `metadata.pyx`."""

from libc.stdint cimport uint32_t, uint64_t

from exporters.loki.any_value cimport Span
from exporters.loki.attributes cimport Attributes
from exporters.loki.records cimport (
    BUILT_IN,
    LEVEL_COUNT,
    MOST_LABELS,
    Named,
    ROLES,
    Record,
    Segment,
)
from exporters.wire.buffer cimport Buffer


cdef class Metadata(Attributes):
    cdef bint by_level
    cdef uint64_t max_metadata, max_pairs
    cdef bint[BUILT_IN] wanted
    cdef list owned          # what the levels, and parts of labels, point to
    cdef Span[LEVEL_COUNT] levels
    cdef int slot_count
    cdef Span[MOST_LABELS] resource_values, values
    cdef Named[ROLES] resource_roles, in_roles
    cdef Buffer metadata
    cdef Segment resource, scope
    cdef uint64_t resource_owner, scope_owner
    cdef size_t pair_count, pair_text

    cdef Span _own(self, bytes text)
    cdef int _structured_metadata(
        self, Record* record, uint64_t time, int level, bint collapsed, bint cut, bint in_line
    ) except -1
    cdef bint _number(self, uint32_t name, uint64_t value) except *
    cdef bint _pair(self, uint32_t name, Span value) except *
    cdef bint _admit(self, size_t pairs, size_t text) noexcept
    cdef int _segment(self, Segment* segment, bint taken) except -1
    cdef int _share(self, Segment* segment, uint64_t owner, uint32_t name, Span value) except -1


cdef void clear_segment(Segment* segment) noexcept
