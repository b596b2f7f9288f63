"""The series of one staged request, each once, and the families of which they are."""

from libc.stdint cimport uint32_t, uint64_t

from exporters.prometheus_remote_write.siphash cimport rotated
from exporters.prometheus_remote_write.symbols cimport SymbolTable


cdef struct Pair:
    uint32_t name, value     # symbols


cdef struct Labels:
    Pair* pairs              # sorted by name, names unique, no value empty
    uint32_t count
    uint64_t lo, hi          # sums of the pairs' hashes
    uint32_t name_at         # where `__name__` belongs


cdef struct Series:
    uint64_t lo, hi
    uint32_t pairs           # offset
    uint32_t count
    uint32_t family
    uint32_t samples
    uint32_t size            # of the labels in version 1


cdef struct Family:
    uint32_t name, help, unit, type


cdef inline uint64_t mix(uint64_t one, uint64_t other) noexcept nogil:
    """A hash of a pair; sums of these identify label sets whatever the order in which they were added."""
    cdef uint64_t value = one * <uint64_t>0x9e3779b97f4a7c15 ^ rotated(other, 31) * <uint64_t>0xc2b2ae3d27d4eb4f
    value = (value ^ (value >> 29)) * <uint64_t>0xbf58476d1ce4e5b9
    return value ^ (value >> 32)


cdef class SeriesTable(SymbolTable):
    cdef Pair* pairs
    cdef size_t pair_count, pair_room
    cdef Series* series
    cdef size_t series_count, series_room, label_bytes
    cdef uint32_t* series_slots
    cdef size_t series_mask
    cdef Family* families
    cdef size_t family_count, family_room

    cdef uint32_t family(self, uint32_t name, uint32_t kind, uint32_t about, uint32_t unit) except? 4294967295
    cdef uint32_t series_of(
        self, Labels* labels, uint32_t name, uint32_t extra, uint32_t value, uint32_t at, bint replaces, uint32_t family
    ) except? 4294967295
    cdef int pair_room_for(self, size_t more) except -1

    cdef inline void measure(self, Labels* labels) noexcept:
        """Fill in what follows from the pairs."""
        cdef uint32_t at
        labels.lo = labels.hi = 0
        labels.name_at = labels.count
        for at in range(labels.count):
            labels.lo += mix(self.symbols[labels.pairs[at].name].lo, self.symbols[labels.pairs[at].value].lo)
            labels.hi += mix(self.symbols[labels.pairs[at].name].hi, self.symbols[labels.pairs[at].value].hi)
        for at in range(labels.count):
            if self.compare(labels.pairs[at].name, self.name_label) > 0:
                labels.name_at = at
                break
