"""Texts by number: names and values of labels, and what is said of metrics."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from exporters.prometheus_remote_write.memory cimport grown, rehashed, same
from exporters.prometheus_remote_write.siphash cimport siphash
from exporters.wire.buffer cimport put
from exporters.wire.numbers cimport load64

cdef const char* NAME_LABEL = "__name__"


cdef class SymbolTable:
    """Symbols: the same text always gets the same number, and the empty one gets 0."""

    def __cinit__(self, bytes key not None):
        cdef const uint8_t* bits = key
        cdef int word
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        for word in range(4):
            self.key[word] = load64(bits + 8 * word)
        self.symbol_mask = 1023
        self.symbol_slots = <uint32_t*>calloc(self.symbol_mask + 1, sizeof(uint32_t))
        if self.symbol_slots == NULL:
            raise MemoryError
        self.intern(<const uint8_t*>NAME_LABEL, 0)
        self.name_label = self.intern(<const uint8_t*>NAME_LABEL, 8)

    def __dealloc__(self):
        free(self.text.data)
        free(self.symbols)
        free(self.symbol_slots)

    cdef uint32_t intern(self, const uint8_t* text, size_t size) except? 4294967295:
        cdef uint64_t lo = siphash(text, size, self.key[0], self.key[1])
        cdef size_t slot = lo & self.symbol_mask
        cdef Symbol* symbol
        while self.symbol_slots[slot]:
            symbol = self.symbols + self.symbol_slots[slot] - 1
            if symbol.lo == lo and symbol.length == size and same(self.text.data + symbol.offset, text, size):
                return self.symbol_slots[slot] - 1
            slot = (slot + 1) & self.symbol_mask
        if size >> 31 or (self.text.used + size) >> 31:
            raise ValueError("the labels of one request exceed 2 GiB")
        self.symbols = <Symbol*>grown(self.symbols, self.symbol_count, &self.symbol_room, sizeof(Symbol))
        symbol = self.symbols + self.symbol_count
        symbol.lo = lo
        symbol.hi = siphash(text, size, self.key[2], self.key[3])
        symbol.offset = <uint32_t>self.text.used
        symbol.length = <uint32_t>size
        put(&self.text, text, size)
        self.symbol_count += 1
        self.symbol_slots[slot] = <uint32_t>self.symbol_count
        if self.symbol_count * 2 > self.symbol_mask:
            self.symbol_slots = rehashed(
                self.symbol_slots, &self.symbol_mask, self.symbols, sizeof(Symbol), self.symbol_count
            )
        return <uint32_t>(self.symbol_count - 1)

    cdef uint32_t intern_bytes(self, bytes text) except? 4294967295:
        return self.intern(text, len(text))
