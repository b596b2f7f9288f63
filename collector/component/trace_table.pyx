"""A bounded table from trace id to a small number, oldest out first. The contract is in the .pyi.

Two generations of open addressing without deletion: entries go into the young one; when that is full it becomes the
old one, and what was old is forgotten.
"""

import os

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from *:
    """
    static inline uint64_t trace_table_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        uint64_t folded = (uint64_t)product ^ (uint64_t)(product >> 64);
        folded *= 0x9E3779B97F4A7C15ULL;
        return folded ^ (folded >> 32);
    }
    """
    uint64_t trace_table_mix(uint64_t a, uint64_t b) noexcept nogil

cdef struct Entry:
    uint64_t hi
    uint64_t lo

cdef struct Generation:
    Entry *entries      # an all-zero id, which is no trace's, marks a free slot
    uint8_t *values
    uint64_t count


cdef class TraceTable:
    cdef Generation young, old
    cdef uint64_t half, mask
    cdef uint64_t seed_hi, seed_lo      # secret: ids come from the network

    def __cinit__(self, uint64_t capacity):
        cdef uint64_t slots = 16
        if capacity < 2:
            raise ValueError("a table has room for two traces at least")
        self.half = (capacity + 1) // 2
        while slots < 2 * self.half:
            slots *= 2
        self.mask = slots - 1
        self.seed_hi = int.from_bytes(os.urandom(8), "little")
        self.seed_lo = int.from_bytes(os.urandom(8), "little")

    def __dealloc__(self):
        for _ in range(2):
            free(self.young.entries)
            free(self.young.values)
            self.young, self.old = self.old, self.young

    def __len__(self):
        return self.young.count + self.old.count

    @property
    def memory(self):
        cdef uint64_t each = (self.mask + 1) * (sizeof(Entry) + 1)
        return each * ((self.young.entries != NULL) + (self.old.entries != NULL))

    cdef inline uint64_t slot_of(self, Generation *where, uint64_t hi, uint64_t lo) noexcept nogil:
        """The slot that holds the trace, or the free one where it would go."""
        cdef uint64_t i = trace_table_mix(hi ^ self.seed_hi, lo ^ self.seed_lo) & self.mask
        while (where.entries[i].hi != hi or where.entries[i].lo != lo) and (where.entries[i].hi | where.entries[i].lo):
            i = (i + 1) & self.mask
        return i

    cdef int make_room(self) except -1:
        if self.young.entries != NULL and self.young.count < self.half:
            return 0
        self.young, self.old = self.old, self.young
        if self.young.entries == NULL:
            self.young.entries = <Entry *>calloc(self.mask + 1, sizeof(Entry))
            self.young.values = <uint8_t *>calloc(self.mask + 1, 1)
            if self.young.entries == NULL or self.young.values == NULL:
                raise MemoryError("no memory for the table of traces")
        else:
            memset(self.young.entries, 0, (self.mask + 1) * sizeof(Entry))
        self.young.count = 0
        return 0

    def put(self, const uint64_t[::1] hi, const uint64_t[::1] lo, const uint8_t[::1] values):
        cdef Py_ssize_t i
        cdef uint64_t slot
        if not hi.shape[0] == lo.shape[0] == values.shape[0]:
            raise ValueError("columns of different lengths")
        for i in range(hi.shape[0]):
            if hi[i] | lo[i] == 0:
                continue
            if self.young.entries == NULL:
                self.make_room()
            slot = self.slot_of(&self.young, hi[i], lo[i])
            if self.young.entries[slot].hi | self.young.entries[slot].lo == 0:
                if self.young.count == self.half:
                    self.make_room()
                    slot = self.slot_of(&self.young, hi[i], lo[i])
                self.young.entries[slot].hi = hi[i]
                self.young.entries[slot].lo = lo[i]
                self.young.count += 1
            self.young.values[slot] = values[i]

    def get(self, const uint64_t[::1] hi, const uint64_t[::1] lo, uint8_t[::1] values):
        cdef Py_ssize_t i
        cdef uint64_t slot
        if not hi.shape[0] == lo.shape[0] == values.shape[0]:
            raise ValueError("columns of different lengths")
        with nogil:
            for i in range(hi.shape[0]):
                values[i] = 0
                if hi[i] | lo[i] == 0 or self.young.entries == NULL:
                    continue
                slot = self.slot_of(&self.young, hi[i], lo[i])
                if self.young.entries[slot].hi | self.young.entries[slot].lo:
                    values[i] = self.young.values[slot]
                elif self.old.entries != NULL:
                    slot = self.slot_of(&self.old, hi[i], lo[i])
                    if self.old.entries[slot].hi | self.old.entries[slot].lo:
                        values[i] = self.old.values[slot]
