"""What the views of spans, data points and log records share."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.fields cimport Field

cdef int next_field(const uint8_t** at, const uint8_t* end, Field* field) except -1
cdef bint find_last(const uint8_t* at, const uint8_t* end, uint32_t number, uint32_t wire, Field* found) except -1


cdef class RawAttributes:
    cdef bytes payload       # what `at` points into
    cdef const uint8_t* at
    cdef const uint8_t* end
    cdef uint32_t number
    cdef bint frozen
    cdef dict edits          # key -> its new AnyValue, None where it was deleted

    cdef object find(self, str key)
    cdef object decoded_edit(self, bytes edit)
    cdef dict keys_in_order(self)
    cdef record(self, str key, bytes edit)


cdef class Request:
    cdef bytes payload
    cdef const uint32_t[::1] resource
    cdef list resources      # attributes by the ordinal of their resource; made when the first is asked for

    cdef object attributes_of_resource(self, Py_ssize_t row)
    cdef object merged_resource(self, const uint8_t* at, const uint8_t* end)


cdef class ItemView:
    cdef Request request
    cdef readonly Py_ssize_t row
    cdef const uint8_t* at
    cdef const uint8_t* end
    cdef uint32_t attributes_number
    cdef RawAttributes raw_attributes
    cdef dict edits          # field -> value, by the names of the properties

    cdef str text(self, uint32_t number)
    cdef bytes blob(self, uint32_t number)
    cdef uint64_t number(self, uint32_t number, uint32_t wire) except? 0
    cdef edit(self, str name, value)
    cdef object edited(self, str name)
    cdef edit_text(self, str name, value)
    cdef edit_enum(self, str name, value)
    cdef dict new_fields(self)
    cdef bytes encode_attribute(self, str key, bytes value)


ctypedef ItemView (*Make)()

cdef list views_of(Request request, bytes payload, index, mask, Make make)
