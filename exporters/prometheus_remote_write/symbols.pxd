"""The texts of one staged request, each once."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from exporters.wire.buffer cimport Buffer

cdef enum:
    NONE = 0xffffffff


cdef struct Symbol:
    uint64_t lo, hi          # keyed hashes of the text
    uint32_t offset, length


cdef class SymbolTable:
    cdef uint64_t[4] key
    cdef Buffer text
    cdef Symbol* symbols
    cdef size_t symbol_count, symbol_room
    cdef uint32_t* symbol_slots
    cdef size_t symbol_mask
    cdef uint32_t name_label

    cdef uint32_t intern(self, const uint8_t* text, size_t size) except? 4294967295
    cdef uint32_t intern_bytes(self, bytes text) except? 4294967295

    cdef inline int compare(self, uint32_t one, uint32_t other) noexcept:
        """The order of two symbols, by bytes."""
        cdef Symbol* first = self.symbols + one
        cdef Symbol* second = self.symbols + other
        cdef size_t size = first.length if first.length < second.length else second.length
        cdef int found
        if one == other:
            return 0
        found = 0
        if size:
            found = memcmp(self.text.data + first.offset, self.text.data + second.offset, size)
        if found:
            return found
        return 1 if first.length > second.length else -1
