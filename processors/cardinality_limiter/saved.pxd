from libc.stdint cimport int64_t, uint8_t, uint32_t

from processors.cardinality_limiter.known cimport Known
from processors.cardinality_limiter.out cimport In, Out
from processors.cardinality_limiter.siphash cimport Hash
from processors.cardinality_limiter.table cimport Entry, Table


cdef class Saved(Known):
    """Known series that outlive a restart."""
    cdef uint32_t placed                     # aggregates that were read and have their entry

    cdef int write_entries(self, const Table *table, list pieces, Out *out) except -1
    cdef uint32_t epoch_of(self, uint32_t epoch, int64_t former_ns) noexcept
    cdef int read_groups(self, In *source, int64_t former_ns) except -1
    cdef int append_group(self, bytes key, bytes name, Hash hashed) except -1
    cdef int read_parts(self, In *source) except -1
    cdef int read_entries(self, Table *table, In *source, int64_t former_ns) except -1
    cdef int check_entry(self, uint8_t kind, uint32_t owner, uint32_t link) except -1
    cdef int link_entry(self, Entry *entry, uint32_t number, In *source) except -1
