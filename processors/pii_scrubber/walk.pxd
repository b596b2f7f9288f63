from libc.stdint cimport uint8_t

from processors.pii_scrubber.walk_state cimport Walk
from processors.wire.edits cimport Frame


cdef int walk_message(Walk walk, int message, const uint8_t* at, const uint8_t* end, Frame* frame) noexcept nogil
