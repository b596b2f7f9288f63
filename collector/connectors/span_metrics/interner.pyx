"""Keys of spans to small numbers, at a hash and a comparison each. The contract is in the .pyi."""

import os

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from *:
    """
    static inline uint64_t interner_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t interner_mix(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    MOST_TEXTS = 24
    MOST_INTEGERS = 4
    MOST_KEY_BYTES = 4096

cdef struct Entry:
    uint64_t hashed
    uint64_t start      # in the pool
    uint32_t size


cdef class Interner:
    cdef uint64_t seed_a, seed_b
    cdef Entry *entries
    cdef int32_t *slots
    cdef uint8_t *pool
    cdef uint8_t scratch[MOST_KEY_BYTES]
    cdef uint64_t count, room, limit, mask, pool_used, pool_room

    def __cinit__(self, uint64_t limit):
        self.limit = min(limit, 1 << 30)
        self.seed_a = int.from_bytes(os.urandom(8), "little") | 1
        self.seed_b = int.from_bytes(os.urandom(8), "little") | 1
        self.grow(64)

    def __dealloc__(self):
        free(self.entries)
        free(self.slots)
        free(self.pool)

    def __len__(self):
        return self.count

    cdef int grow(self, uint64_t room) except -1:
        """Room for that many entries, with twice as many slots."""
        cdef uint64_t number, at
        cdef Entry *entries = <Entry *>realloc(self.entries, room * sizeof(Entry))
        cdef int32_t *slots
        if entries == NULL:
            raise MemoryError("no memory for more series")
        self.entries = entries
        slots = <int32_t *>malloc(2 * room * sizeof(int32_t))
        if slots == NULL:
            raise MemoryError("no memory for more series")
        free(self.slots)
        self.slots = slots
        memset(slots, 0xFF, 2 * room * sizeof(int32_t))
        self.room = room
        self.mask = 2 * room - 1
        for number in range(self.count):
            at = entries[number].hashed & self.mask
            while slots[at] >= 0:
                at = (at + 1) & self.mask
            slots[at] = <int32_t>number
        return 0

    cdef uint64_t hash_of(self, const uint8_t *key, uint64_t size) noexcept nogil:
        cdef uint64_t result = self.seed_a ^ size, word
        while size >= 8:
            memcpy(&word, key, 8)
            result = interner_mix(result ^ word, self.seed_b)
            key += 8
            size -= 8
        word = 0
        memcpy(&word, key, size)
        return interner_mix(interner_mix(result ^ word, self.seed_b), 0x9E3779B97F4A7C15)

    cdef int32_t find(self, const uint8_t *key, uint64_t size) except -2:
        cdef uint64_t hashed = self.hash_of(key, size)
        cdef uint64_t at = hashed & self.mask
        cdef Entry *entry
        while self.slots[at] >= 0:
            entry = &self.entries[self.slots[at]]
            if entry.hashed == hashed and entry.size == size and memcmp(self.pool + entry.start, key, size) == 0:
                return self.slots[at]
            at = (at + 1) & self.mask
        if self.count >= self.limit:
            return -1
        if self.count == self.room:
            self.grow(2 * self.room)
        self.reserve(self.pool_used + size)
        memcpy(self.pool + self.pool_used, key, size)
        entry = &self.entries[self.count]
        entry.hashed = hashed
        entry.start = self.pool_used
        entry.size = <uint32_t>size
        self.pool_used += size
        at = hashed & self.mask
        while self.slots[at] >= 0:
            at = (at + 1) & self.mask
        self.slots[at] = <int32_t>self.count
        self.count += 1
        return <int32_t>(self.count - 1)

    cdef int reserve(self, uint64_t wanted) except -1:
        cdef uint8_t *larger
        if wanted > self.pool_room or self.pool == NULL:
            larger = <uint8_t *>realloc(self.pool, wanted + wanted // 2 + 64)
            if larger == NULL:
                raise MemoryError("no memory for more series")
            self.pool = larger
            self.pool_room = wanted + wanted // 2 + 64
        return 0

    def number(self, bytes payload not None, texts, integers):
        cdef const uint8_t *base = <const uint8_t *>PyBytes_AS_STRING(payload)
        cdef uint64_t size = PyBytes_GET_SIZE(payload), used
        cdef const uint32_t[::1] column
        cdef const int32_t[::1] whole
        cdef const uint32_t *offset[MOST_TEXTS]
        cdef const uint32_t *length[MOST_TEXTS]
        cdef const int32_t *value[MOST_INTEGERS]
        cdef int text_count = len(texts), integer_count = len(integers), i
        cdef Py_ssize_t rows = len(integers[0]) if integers else len(texts[0][0]), row
        if text_count > MOST_TEXTS or integer_count > MOST_INTEGERS:
            raise ValueError("too many columns")
        for i in range(text_count):
            for number, part in enumerate(texts[i]):
                column = part
                if column.shape[0] != rows:
                    raise ValueError("columns of different lengths")
                if rows and number:
                    length[i] = &column[0]
                elif rows:
                    offset[i] = &column[0]
        for i in range(integer_count):
            whole = integers[i]
            if whole.shape[0] != rows:
                raise ValueError("columns of different lengths")
            if rows:
                value[i] = &whole[0]
        out = np.empty(rows, np.int32)
        cdef int32_t[::1] numbers = out
        for row in range(rows):
            used = 4 * (text_count + integer_count)
            for i in range(text_count):
                if length[i][row] and (offset[i][row] > size or length[i][row] > size - offset[i][row]):
                    raise ValueError("the columns don't fit the payload")
                used += length[i][row]
            if used > MOST_KEY_BYTES:
                numbers[row] = -1
                continue
            used = 0
            for i in range(text_count):
                memcpy(self.scratch + used, &length[i][row], 4)
                memcpy(self.scratch + used + 4, base + (offset[i][row] if length[i][row] else 0), length[i][row])
                used += 4 + length[i][row]
            for i in range(integer_count):
                memcpy(self.scratch + used, &value[i][row], 4)
                used += 4
            numbers[row] = self.find(self.scratch, used)
        return out

    def key(self, uint64_t number):
        if number >= self.count:
            raise IndexError("no such key")
        return PyBytes_FromStringAndSize(<char *>self.pool + self.entries[number].start, self.entries[number].size)

    def put(self, bytes key not None):
        return self.find(<const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
