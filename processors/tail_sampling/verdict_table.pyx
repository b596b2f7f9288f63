"""The verdicts of decided traces: two bounded first-in-first-out tables of 24-byte entries (see the .pyi)."""

import os

from libc.stdint cimport int16_t, int8_t, uint8_t, uint16_t, uint64_t

from processors.tail_sampling.arena cimport (
    Arena, arena_append, arena_at, arena_bytes, arena_find, arena_free, arena_init, arena_kill, arena_trim,
)

NO_VERDICT = 0
NOT_SAMPLED = 1
SAMPLED = 2
MAX_POLICIES = 1 << 10
MAX_THRESHOLDS = 1 << 8

cdef enum:
    HEAD_SHIFT = 18
    THRESHOLD_SHIFT = 10

cdef struct Verdict:
    uint64_t hi
    uint64_t lo
    uint64_t detail    # position until which it is needed << 18 | threshold number << 10 | policy number


cdef class VerdictTable:

    def __cinit__(self, uint64_t sampled_limit, uint64_t not_sampled_limit):
        cdef uint64_t seed_hi = int.from_bytes(os.urandom(8), "little")
        cdef uint64_t seed_lo = int.from_bytes(os.urandom(8), "little")
        self.sampled_limit = sampled_limit
        self.not_sampled_limit = not_sampled_limit
        self.settled_position = 0
        if not (
            arena_init(&self.sampled, sizeof(Verdict), seed_hi, seed_lo)
            and arena_init(&self.not_sampled, sizeof(Verdict), seed_hi, seed_lo)
        ):
            raise MemoryError

    def __dealloc__(self):
        arena_free(&self.sampled)
        arena_free(&self.not_sampled)

    def __len__(self):
        return self.sampled.live + self.not_sampled.live

    @property
    def memory(self):
        return arena_bytes(&self.sampled) + arena_bytes(&self.not_sampled)

    def add(
        self,
        const uint64_t[::1] hi,
        const uint64_t[::1] lo,
        const uint8_t[::1] sampled,
        const uint16_t[::1] policy,
        const uint8_t[::1] threshold,
        uint64_t needed_until,
    ):
        cdef Py_ssize_t i, n = hi.shape[0]
        cdef uint64_t found = 0
        cdef Arena *arena
        cdef Arena *other
        cdef Verdict *verdict
        cdef bint full = False
        if not (lo.shape[0] == sampled.shape[0] == policy.shape[0] == threshold.shape[0] == n):
            raise ValueError("columns of different lengths")
        with nogil:
            for i in range(n):
                if hi[i] | lo[i] == 0:
                    continue
                arena = &self.sampled if sampled[i] else &self.not_sampled
                other = &self.not_sampled if sampled[i] else &self.sampled
                if arena_find(other, hi[i], lo[i], &found) != NULL:
                    arena_kill(other, found)
                if arena_find(arena, hi[i], lo[i], &found) != NULL:
                    arena_kill(arena, found)
                arena_trim(arena)
                verdict = <Verdict *>arena_append(arena, hi[i], lo[i])
                if verdict == NULL:
                    full = True
                    break
                verdict.detail = (
                    (needed_until << HEAD_SHIFT) | (<uint64_t>threshold[i] << THRESHOLD_SHIFT) | (policy[i] & 0x3FF)
                )
            self.evict(&self.sampled, self.sampled_limit)
            self.evict(&self.not_sampled, self.not_sampled_limit)
        if full:
            raise MemoryError("the verdict table is full")

    def settled(self, uint64_t position):
        if position > self.settled_position:
            self.settled_position = position
            with nogil:
                self.evict(&self.sampled, self.sampled_limit)
                self.evict(&self.not_sampled, self.not_sampled_limit)

    def lookup(
        self,
        const uint64_t[::1] hi,
        const uint64_t[::1] lo,
        int8_t[::1] state,
        int16_t[::1] policy,
        uint8_t[::1] threshold,
    ):
        cdef Py_ssize_t i, n = hi.shape[0], missing = 0
        cdef uint64_t found = 0
        cdef Verdict *verdict
        if not (lo.shape[0] == state.shape[0] == policy.shape[0] == threshold.shape[0] == n):
            raise ValueError("columns of different lengths")
        with nogil:
            for i in range(n):
                if i and hi[i] == hi[i - 1] and lo[i] == lo[i - 1]:
                    state[i] = state[i - 1]
                    missing += state[i] == 0
                    policy[i] = policy[i - 1]
                    threshold[i] = threshold[i - 1]
                    continue
                state[i] = 1
                verdict = <Verdict *>arena_find(&self.not_sampled, hi[i], lo[i], &found)
                if verdict == NULL:
                    state[i] = 2
                    verdict = <Verdict *>arena_find(&self.sampled, hi[i], lo[i], &found)
                if verdict == NULL:
                    state[i] = 0
                    missing += 1
                    policy[i] = 0
                    threshold[i] = 0
                    continue
                policy[i] = <int16_t>(verdict.detail & 0x3FF)
                threshold[i] = <uint8_t>((verdict.detail >> THRESHOLD_SHIFT) & 0xFF)
        return missing

    def find(self, uint64_t hi, uint64_t lo):
        cdef uint64_t found = 0
        cdef bint sampled = True
        cdef Verdict *verdict = <Verdict *>arena_find(&self.sampled, hi, lo, &found)
        if verdict == NULL:
            sampled = False
            verdict = <Verdict *>arena_find(&self.not_sampled, hi, lo, &found)
        if verdict == NULL:
            return None
        return sampled, verdict.detail & 0x3FF, (verdict.detail >> THRESHOLD_SHIFT) & 0xFF

    cdef int follow(self, uint64_t hi, uint64_t lo, uint64_t needed_until) noexcept nogil:
        """0 when the trace has no verdict; else 1 or 2, plus 4 when the entry was moved to the back to last longer."""
        cdef uint64_t found = 0, detail
        cdef int answer = 1
        cdef Arena *arena = &self.not_sampled
        cdef Verdict *verdict = <Verdict *>arena_find(arena, hi, lo, &found)
        if verdict == NULL:
            answer = 2
            arena = &self.sampled
            verdict = <Verdict *>arena_find(arena, hi, lo, &found)
            if verdict == NULL:
                return 0
        if verdict.detail >> HEAD_SHIFT >= needed_until:
            return answer
        detail = verdict.detail & ((1 << HEAD_SHIFT) - 1)
        verdict = <Verdict *>arena_append(arena, hi, lo)
        if verdict == NULL:    # memory is out: the entry stays where it is
            return answer
        verdict.detail = (needed_until << HEAD_SHIFT) | detail
        arena_kill(arena, found)
        arena_trim(arena)
        return answer + 4

    cdef void evict(self, Arena *arena, uint64_t limit) noexcept nogil:
        """Drop the oldest entries beyond `limit` that no record before the tail can need any more."""
        cdef Verdict *verdict
        while arena.live > limit and arena.front < arena.back:
            verdict = <Verdict *>arena_at(arena, arena.front)
            if verdict.hi | verdict.lo:
                if verdict.detail >> HEAD_SHIFT > self.settled_position:
                    break
                arena_kill(arena, arena.front)
            arena_trim(arena)
        arena_trim(arena)
