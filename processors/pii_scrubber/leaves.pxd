from libc.stdint cimport uint8_t

from processors.pii_scrubber.walk_state cimport Walk
from processors.wire.edits cimport Edit, Frame
from processors.wire.fields cimport Field


cdef int empty_id(Walk walk, Frame* frame, const Field* field) noexcept nogil
cdef int look_inside(Walk walk, Frame* frame, const Field* field, bint whatever) noexcept nogil
cdef int look_at(Walk walk, Frame* frame, const Field* field, int pending) noexcept nogil
cdef int scrub_leaf(Walk walk, Frame* frame, const Field* field, uint8_t action) noexcept nogil
cdef int scrub_number(Walk walk, Frame* frame, const Field* field, uint8_t action) noexcept nogil
cdef int redact_fields(Walk walk, Frame* frame, const uint8_t* at, const uint8_t* end) noexcept nogil
cdef bint put(Walk walk, Edit* edit, const uint8_t* text, size_t size) noexcept nogil
cdef bint put_hash(Walk walk, Edit* edit, const uint8_t* digest, size_t size) noexcept nogil
