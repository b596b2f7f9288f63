from exporters.loki.any_value cimport Span
from exporters.loki.lines cimport Lines
from exporters.loki.records cimport Named, Record


cdef class RecordReader(Lines):
    cdef int _resource_attributes(self) except -1
    cdef int _read_scope(self, Span message) except -1
    cdef int _read_record(self, Span message, Record* record) except -1
    cdef int _look_into_body(self, Record* record) except -1
    cdef bint _body_member(self, Record* record, Span key, Span text) except *
    cdef bint _well_formed(self, Span* identity, size_t size) noexcept


cdef void clear_role(Named* role) noexcept
cdef int level_of(Record* record) except -1
