"""See `attributes.pyx`."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from exporters.loki.any_value cimport Span
from exporters.loki.interner cimport Interner
from exporters.loki.records cimport (
    ADJUSTED,
    Attribute,
    Key,
    Name,
    Named,
)
from exporters.wire.buffer cimport Buffer
from exporters.wire.fields cimport Field


cdef class Attributes:
    cdef object listed
    cdef dict slots, roles
    cdef set label_names
    cdef list slot_names
    cdef bint everything
    cdef uint64_t max_value
    cdef Interner keys, names
    cdef Key* key_info
    cdef Name* name_info
    cdef size_t key_room, name_room
    cdef Attribute* attributes
    cdef size_t attribute_count, attribute_room
    cdef uint64_t owner      # number of the resource, scope or record whose attributes are read
    cdef uint64_t[ADJUSTED] adjusted
    cdef Buffer scratch
    cdef bytes block         # texts that outlive `scratch`; full ones are in `keep`
    cdef size_t block_used
    cdef list keep

    cdef int _begin_anew(self) except -1
    cdef uint32_t _name(self, bytes text) except? 0xFFFFFFFF
    cdef uint32_t _key(self, Span key) except? 0xFFFFFFFF
    cdef int _learn(self, size_t number, bytes key) except -1
    cdef int _attributes_of(self, Span message, uint32_t number) except -1
    cdef int _attribute(self, Field* field) except -1
    cdef bint _plays(self, Named* roles, Attribute* one) noexcept
    cdef int _take_role(self, Named* roles, Attribute* one, int64_t place) except -1
    cdef Span _text(self, Span message, bint stays) except *
    cdef Span _short(self, Span text) noexcept
