"""Labels that points have in common."""

from libc.stdint cimport uint8_t, uint32_t

from exporters.prometheus_remote_write.label_reader cimport LabelReader
from exporters.prometheus_remote_write.labels cimport Attribute, Attributes


cdef class SharedLabels(LabelReader):
    """Labels of a resource and of a scope in it."""
    cdef bint scope_labels
    cdef Attributes resource, scope, fixed   # sorted by name and key; `fixed` wins against attributes

    cdef int begin_resource(self, const uint8_t* at, const uint8_t* end) except -1
    cdef int begin_scope(self, const uint8_t* at, const uint8_t* end) except -1
    cdef int end_scope(self) except -1
    cdef Attribute* attribute(self, Attributes* list, bytes key) noexcept
    cdef int prefix_scope(self) except -1
    cdef int add_scope(self, bytes name, uint32_t value) except -1


cdef bint identifies(Attribute* attribute) noexcept nogil
