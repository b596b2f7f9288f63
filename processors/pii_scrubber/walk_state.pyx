"""What a walk over a request needs to know and what it gathers, shared by those that walk and those that settle."""

from libc.stdlib cimport free

from processors.pii_scrubber.key_table cimport free_keys
from processors.pii_scrubber.recent cimport free_recent
from processors.wire.edits cimport free_edits


cdef class Walk:
    def __dealloc__(self):
        free_keys(&self.keys)
        free_recent(&self.recent)
        free_edits(&self.edits)
        free(self.strangers)
        free(self.found)
