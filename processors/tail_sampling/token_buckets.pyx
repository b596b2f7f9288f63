"""Token buckets over stream time, and the greedy loop that spends them (see the .pyi)."""

import numpy as np

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

cdef struct Bucket:
    double rate       # tokens a nanosecond
    double burst
    double tokens
    bint bounded


cdef inline bint admits(Bucket *bucket, double cost) noexcept nogil:
    """Enough tokens; or a full bucket, so that what is larger than the burst isn't refused for ever."""
    return not bucket.bounded or bucket.tokens >= cost or bucket.tokens >= bucket.burst


cdef class TokenBuckets:
    cdef Bucket *buckets    # the total, then one for each candidate
    cdef Py_ssize_t count
    cdef int64_t last_ns
    cdef bint begun

    def __cinit__(self, total, shares):
        cdef Py_ssize_t i
        self.count = len(shares) + 1
        self.buckets = <Bucket *>calloc(self.count, sizeof(Bucket))
        if self.buckets == NULL:
            raise MemoryError
        for i, limit in enumerate([total, *shares]):
            if limit is not None:
                rate, burst = limit
                self.buckets[i] = Bucket(rate / 1e9, burst, burst, True)

    def __dealloc__(self):
        free(self.buckets)

    def spend(self, const uint8_t[:, ::1] candidates, const uint32_t[::1] cost, const int64_t[::1] time_ns):
        cdef Py_ssize_t i, j, n = cost.shape[0]
        cdef double passed
        cdef Bucket *bucket
        if candidates.shape[0] != self.count - 1 or candidates.shape[1] != n or time_ns.shape[0] != n:
            raise ValueError("columns of different lengths")
        winners = np.full(n, -1, np.int16)
        cdef int16_t[::1] winner = winners
        with nogil:
            for i in range(n):
                if not self.begun:
                    self.last_ns = time_ns[i]
                    self.begun = True
                elif time_ns[i] > self.last_ns:
                    passed = <double>(time_ns[i] - self.last_ns)
                    self.last_ns = time_ns[i]
                    for j in range(self.count):
                        bucket = &self.buckets[j]
                        bucket.tokens = min(bucket.burst, bucket.tokens + passed * bucket.rate)
                if not admits(&self.buckets[0], cost[i]):
                    continue
                for j in range(self.count - 1):
                    if candidates[j, i] and admits(&self.buckets[j + 1], cost[i]):
                        self.buckets[0].tokens -= cost[i]
                        self.buckets[j + 1].tokens -= cost[i]
                        winner[i] = <int16_t>j
                        break
        return winners
