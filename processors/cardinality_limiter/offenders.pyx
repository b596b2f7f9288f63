"""Who is refused most: a bounded number of metrics and labels, each with a HyperLogLog of what was refused of it.

When all rows are taken, a newcomer gets the one that was noted least and its weight (the space-saving algorithm of
Metwally, Agrawal and El Abbadi): whoever is refused more often than 1 in `most` times stays in the list, whatever else
is thrown at it.
"""

import numpy as np

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from processors.cardinality_limiter.siphash cimport Hash

cdef extern from *:
    int leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    INDEX_BITS = 11
    REGISTERS = 2048         # a standard error of 1.04 / sqrt(2048), 2.3 %
    LONGEST_NAME = 128


cdef class Offenders:
    def __init__(self, uint32_t most):
        if most < 1:
            raise ValueError("there is room for one at least")
        self.most = most
        self.registers = np.zeros((most, REGISTERS), np.uint8)
        self.keys = np.zeros(most, np.dtype([("hi", np.uint64), ("lo", np.uint64)]))
        self.weights = np.zeros(most, np.uint64)
        self.points = np.zeros(most, np.uint64)
        self.actions = np.zeros(most, np.uint8)
        self.names = [None] * most

    def __len__(self):
        return self.count

    cdef int note(
        self, Hash key, bytes metric, const uint8_t *label, size_t label_size, uint8_t action, uint64_t hashed
    ) except -1:
        """One point of `metric` was refused; `hashed` is its series, or, of a `label`, its value."""
        cdef uint32_t i = self.last, least
        cdef uint8_t rank
        if i >= self.count or self.keys[i].hi != key.hi or self.keys[i].lo != key.lo:
            for i in range(self.count):
                if self.keys[i].hi == key.hi and self.keys[i].lo == key.lo:
                    break
            else:
                if self.count < self.most:
                    i = self.count
                    self.count += 1
                else:
                    i = 0
                    for least in range(1, self.count):
                        if self.weights[least] < self.weights[i]:
                            i = least
                self.keys[i] = key
                self.points[i] = 0
                self.names[i] = metric[:LONGEST_NAME], label[:min(label_size, <size_t>LONGEST_NAME)]
                memset(&self.registers[i, 0], 0, REGISTERS)
            self.last = i
        self.weights[i] += 1
        self.points[i] += 1
        self.actions[i] = action
        rank = leading_zeros((hashed << INDEX_BITS) | (1 << (INDEX_BITS - 1))) + 1
        if self.registers[i, hashed >> (64 - INDEX_BITS)] < rank:
            self.registers[i, hashed >> (64 - INDEX_BITS)] = rank
        return 0

    def rows(self):
        return [
            (*self.names[i], self.actions[i], self.points[i], np.array(self.registers[i]))
            for i in range(self.count)
        ]

    @property
    def memory(self):
        return self.most * (REGISTERS + 16 + 16 + 1 + 8)
