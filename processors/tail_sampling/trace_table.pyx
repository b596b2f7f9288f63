"""The open traces: one 56-byte entry each, in order of first sight, and what observing a record does to them."""

import os

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from processors.tail_sampling.arena cimport (
    Arena, Key, arena_append, arena_at, arena_bytes, arena_find, arena_free, arena_init, arena_kill, arena_trim,
)
from processors.tail_sampling.randomness cimport NO_RANDOMNESS, randomness_of_span
from processors.tail_sampling.verdict_table cimport VerdictTable

cdef enum:
    MAX_SIZE = 0xFFFFFFFF
    COUNT_MASK = 0x1FFFFFFF    # spans of one trace, saturating
    HAS_RANDOMNESS = 0x80000000
    HAS_ROOT = 0x40000000
    IS_OVERSIZE = 0x20000000

cdef struct Trace:
    uint64_t hi
    uint64_t lo
    uint64_t matches
    uint64_t start         # earliest that isn't 0; 0 when none is known
    uint64_t end           # latest
    uint32_t spans         # a count and three flags
    uint32_t size          # bytes of span bodies, saturating
    uint32_t position      # of the record that opened it, modulo 2^32
    uint32_t seen_us       # stream time then, in microseconds modulo 2^32

cdef struct Randomness:
    uint64_t hi
    uint64_t lo
    uint64_t value

cdef struct Timer:
    uint64_t hi
    uint64_t lo
    int64_t seen_ns


cdef class TraceTable:
    cdef Arena open
    cdef Arena randomness          # only of traces whose tracestate gave one
    cdef Timer *timers             # ring: traces whose root has come, in order of its time
    cdef uint64_t timer_front
    cdef uint64_t timer_back
    cdef uint64_t timer_capacity
    cdef uint64_t *picked          # sequence numbers of oversize traces, in the order they became that
    cdef uint64_t picked_count
    cdef uint64_t picked_capacity
    cdef uint64_t *moved           # ids of late traces whose verdict was made to last longer: hi, lo, hi, lo, ...
    cdef uint64_t moved_count
    cdef uint64_t moved_capacity
    cdef VerdictTable verdicts
    cdef uint64_t max_traces
    cdef uint32_t max_spans
    cdef uint32_t max_size
    cdef bint time_roots
    cdef bint read_randomness
    cdef int64_t seen_us           # stream time of the newest record
    cdef uint64_t position         # of the records that are fed now: from here
    cdef uint64_t next_position    # to before here
    cdef readonly uint64_t late_sampled
    cdef readonly uint64_t late_not_sampled

    def __cinit__(
        self,
        VerdictTable verdicts not None,
        *,
        uint64_t max_traces,
        uint64_t max_spans=0,
        uint64_t max_size=0,
        bint time_roots=False,
        bint read_randomness=False,
    ):
        cdef uint64_t seed_hi = int.from_bytes(os.urandom(8), "little")
        cdef uint64_t seed_lo = int.from_bytes(os.urandom(8), "little")
        self.verdicts = verdicts
        self.max_traces = max_traces
        self.max_spans = <uint32_t>min(max_spans or <uint64_t>COUNT_MASK, <uint64_t>COUNT_MASK)
        self.max_size = <uint32_t>min(max_size or <uint64_t>MAX_SIZE, <uint64_t>MAX_SIZE)
        self.time_roots = time_roots
        self.read_randomness = read_randomness
        if not (
            arena_init(&self.open, sizeof(Trace), seed_hi, seed_lo)
            and arena_init(&self.randomness, sizeof(Randomness), seed_hi, seed_lo)
        ):
            raise MemoryError

    def __dealloc__(self):
        arena_free(&self.open)
        arena_free(&self.randomness)
        free(self.timers)
        free(self.picked)
        free(self.moved)

    def __len__(self):
        return self.open.live

    @property
    def memory(self):
        return (
            arena_bytes(&self.open) + arena_bytes(&self.randomness) + self.timer_capacity * sizeof(Timer)
            + (self.picked_capacity + self.moved_capacity) * sizeof(uint64_t)
        )

    @property
    def boundary(self):
        if self.open.live == 0:
            return self.next_position
        return self._position(<Trace *>arena_at(&self.open, self.open.front))

    def begin(self, uint64_t position, uint64_t upto, int64_t now_ns):
        cdef int64_t now_us = now_ns // 1000
        if now_us > self.seen_us:
            self.seen_us = now_us
        self.position = position
        self.next_position = upto
        self.late_sampled = 0
        self.late_not_sampled = 0
        self.moved_count = 0

    def feed(
        self,
        const uint8_t[::1] payload,
        const uint64_t[::1] hi,
        const uint64_t[::1] lo,
        const uint64_t[::1] parent,
        const uint64_t[::1] start,
        const uint64_t[::1] end,
        const uint32_t[::1] offset,
        const uint32_t[::1] length,
        const uint64_t[::1] matches,
        const uint8_t[::1] chosen,
        Py_ssize_t row,
    ):
        cdef Py_ssize_t n = hi.shape[0]
        if not (
            lo.shape[0] == parent.shape[0] == start.shape[0] == end.shape[0] == offset.shape[0] == length.shape[0]
            == matches.shape[0] == chosen.shape[0] == n
        ) or row < 0:
            raise ValueError("columns of different lengths")
        cdef uint64_t sequence = 0, value, bytes_so_far, size = payload.shape[0], last_hi = 0, last_lo = 0
        cdef uint32_t count
        cdef int followed = 0
        cdef Trace *trace = NULL
        cdef bint failed = False
        with nogil:
            while row < n:
                if not chosen[row] or hi[row] | lo[row] == 0:
                    row += 1
                    continue
                if hi[row] != last_hi or lo[row] != last_lo:    # spans of one trace often come side by side
                    last_hi, last_lo = hi[row], lo[row]
                    trace = <Trace *>arena_find(&self.open, last_hi, last_lo, &sequence)
                    if trace == NULL:
                        followed = self.verdicts.follow(last_hi, last_lo, self.next_position)
                        if followed >= 4:
                            followed -= 4
                            if not self._note_moved(last_hi, last_lo):
                                failed = True
                                break
                        if followed == 0:
                            if self.open.live >= self.max_traces:
                                break
                            trace = <Trace *>arena_append(&self.open, last_hi, last_lo)
                            if trace == NULL:
                                break
                            sequence = self.open.back - 1
                            trace.position = <uint32_t>self.position
                            trace.seen_us = <uint32_t>self.seen_us
                            if self.read_randomness and <uint64_t>offset[row] + length[row] <= size and length[row]:
                                value = randomness_of_span(&payload[offset[row]], length[row])
                                if value != NO_RANDOMNESS and self._keep_randomness(last_hi, last_lo, value):
                                    trace.spans |= HAS_RANDOMNESS
                if trace == NULL:
                    if followed == 2:
                        self.late_sampled += 1
                    else:
                        self.late_not_sampled += 1
                    row += 1
                    continue
                trace.matches |= matches[row]
                if start[row] != 0 and (trace.start == 0 or start[row] < trace.start):
                    trace.start = start[row]
                if end[row] > trace.end:
                    trace.end = end[row]
                count = trace.spans & COUNT_MASK
                if count < COUNT_MASK:
                    trace.spans += 1
                    count += 1
                bytes_so_far = <uint64_t>trace.size + length[row]
                trace.size = <uint32_t>bytes_so_far if bytes_so_far < MAX_SIZE else MAX_SIZE
                if self.time_roots and parent[row] == 0 and not trace.spans & HAS_ROOT:
                    if not self._add_timer(last_hi, last_lo):
                        failed = True
                        break
                    trace.spans |= HAS_ROOT
                if (count >= self.max_spans or trace.size >= self.max_size) and not trace.spans & IS_OVERSIZE:
                    if not self._pick(sequence):
                        failed = True
                        break
                    trace.spans |= IS_OVERSIZE
                row += 1
        if failed:
            raise MemoryError
        return row

    def moved_verdicts(self):
        """Ids (hi, lo) of the late traces whose verdicts were made to last longer since `begin`."""
        ids = np.empty((self.moved_count, 2), np.uint64)
        cdef uint64_t[:, ::1] view = ids
        cdef uint64_t i
        for i in range(self.moved_count):
            view[i, 0] = self.moved[2 * i]
            view[i, 1] = self.moved[2 * i + 1]
        return ids[:, 0].copy(), ids[:, 1].copy()

    def take_due(self, int64_t now_ns, int64_t wait_ns):
        cdef uint64_t stop = self.open.front
        with nogil:
            while stop < self.open.back:
                if not self._dead(stop) and self._seen_ns(<Trace *>arena_at(&self.open, stop)) + wait_ns > now_ns:
                    break
                stop += 1
        return self._take_before(stop)

    def take_oldest(self, uint64_t count):
        cdef uint64_t stop = self.open.front
        while stop < self.open.back and count:
            count -= not self._dead(stop)
            stop += 1
        return self._take_before(stop)

    def take_begun_before(self, uint64_t position):
        cdef uint64_t stop = self.open.front
        while stop < self.open.back and (
            self._dead(stop) or self._position(<Trace *>arena_at(&self.open, stop)) < position
        ):
            stop += 1
        return self._take_before(stop)

    def take_rooted(self, int64_t now_ns, int64_t wait_ns):
        cdef uint64_t sequence = 0
        cdef Timer *timer
        cdef Trace *trace
        self.picked_count = 0
        while self.timer_front < self.timer_back:
            timer = &self.timers[self.timer_front & (self.timer_capacity - 1)]
            if timer.seen_ns + wait_ns > now_ns:
                break
            self.timer_front += 1
            trace = <Trace *>arena_find(&self.open, timer.hi, timer.lo, &sequence)
            if trace != NULL and trace.spans & HAS_ROOT:
                trace.spans &= ~<uint32_t>HAS_ROOT    # a trace that was opened again may have a stale timer, too
                if not self._pick(sequence):
                    raise MemoryError
        return self._take(self.picked, self.picked_count)

    def take_oversize(self):
        return self._take(self.picked, self.picked_count)

    def find(self, uint64_t hi, uint64_t lo):
        cdef uint64_t sequence = 0
        cdef Trace *trace = <Trace *>arena_find(&self.open, hi, lo, &sequence)
        if trace == NULL:
            return None
        return {
            "spans": trace.spans & COUNT_MASK, "bytes": trace.size, "position": self._position(trace),
            "seen_ns": self._seen_ns(trace), "matches": trace.matches, "start": trace.start, "end": trace.end,
        }

    cdef bint _dead(self, uint64_t sequence) noexcept nogil:
        cdef Key *key = arena_at(&self.open, sequence)
        return key.hi | key.lo == 0

    cdef int64_t _seen_ns(self, Trace *trace) noexcept nogil:
        return (self.seen_us - <uint32_t>(<uint32_t>self.seen_us - trace.seen_us)) * 1000

    cdef uint64_t _position(self, Trace *trace) noexcept nogil:
        return self.next_position - <uint32_t>(<uint32_t>self.next_position - trace.position)

    cdef bint _keep_randomness(self, uint64_t hi, uint64_t lo, uint64_t value) noexcept nogil:
        cdef Randomness *entry = <Randomness *>arena_append(&self.randomness, hi, lo)
        if entry == NULL:
            return False
        entry.value = value
        return True

    cdef bint _add_timer(self, uint64_t hi, uint64_t lo) noexcept nogil:
        cdef uint64_t i, capacity
        cdef Timer *timers
        if self.timer_back - self.timer_front >= self.timer_capacity:
            capacity = self.timer_capacity * 2 if self.timer_capacity else 1024
            timers = <Timer *>malloc(capacity * sizeof(Timer))
            if timers == NULL:
                return False
            for i in range(self.timer_front, self.timer_back):
                timers[i & (capacity - 1)] = self.timers[i & (self.timer_capacity - 1)]
            free(self.timers)
            self.timers = timers
            self.timer_capacity = capacity
        self.timers[self.timer_back & (self.timer_capacity - 1)] = Timer(hi, lo, self.seen_us * 1000)
        self.timer_back += 1
        return True

    cdef bint _pick(self, uint64_t sequence) noexcept nogil:
        cdef uint64_t capacity
        cdef uint64_t *picked
        if self.picked_count >= self.picked_capacity:
            capacity = self.picked_capacity * 2 if self.picked_capacity else 64
            picked = <uint64_t *>realloc(self.picked, capacity * sizeof(uint64_t))
            if picked == NULL:
                return False
            self.picked = picked
            self.picked_capacity = capacity
        self.picked[self.picked_count] = sequence
        self.picked_count += 1
        return True

    cdef bint _note_moved(self, uint64_t hi, uint64_t lo) noexcept nogil:
        cdef uint64_t capacity
        cdef uint64_t *moved
        if 2 * self.moved_count + 2 > self.moved_capacity:
            capacity = self.moved_capacity * 2 if self.moved_capacity else 64
            moved = <uint64_t *>realloc(self.moved, capacity * sizeof(uint64_t))
            if moved == NULL:
                return False
            self.moved = moved
            self.moved_capacity = capacity
        self.moved[2 * self.moved_count] = hi
        self.moved[2 * self.moved_count + 1] = lo
        self.moved_count += 1
        return True

    cdef object _take_before(self, uint64_t stop):
        cdef uint64_t sequence, count = 0, i = 0
        cdef uint64_t *wanted
        for sequence in range(self.open.front, stop):
            count += not self._dead(sequence)
        wanted = <uint64_t *>malloc((count + 1) * sizeof(uint64_t))
        if wanted == NULL:
            raise MemoryError
        for sequence in range(self.open.front, stop):
            if not self._dead(sequence):
                wanted[i] = sequence
                i += 1
        try:
            return self._take(wanted, count)
        finally:
            free(wanted)

    cdef object _take(self, uint64_t *wanted, uint64_t count):
        """Columns of the traces with these sequence numbers, which are forgotten. Pending oversize picks are, too."""
        if count == 0:
            return None
        columns = np.empty((6, count), np.uint64)
        sizes = np.empty((2, count), np.uint32)
        seen = np.empty(count, np.int64)
        cdef uint64_t[:, ::1] out = columns
        cdef uint32_t[:, ::1] small = sizes
        cdef int64_t[::1] seen_ns = seen
        cdef uint64_t i, sequence = 0
        cdef Trace *trace
        cdef Randomness *given
        with nogil:
            for i in range(count):
                trace = <Trace *>arena_at(&self.open, wanted[i])
                out[0, i] = trace.hi
                out[1, i] = trace.lo
                out[2, i] = trace.matches
                out[3, i] = trace.start
                out[4, i] = trace.end
                out[5, i] = (trace.lo << 8) >> 8    # its last 7 bytes
                small[0, i] = trace.spans & COUNT_MASK
                small[1, i] = trace.size
                seen_ns[i] = self._seen_ns(trace)
                if trace.spans & HAS_RANDOMNESS:
                    given = <Randomness *>arena_find(&self.randomness, trace.hi, trace.lo, &sequence)
                    out[5, i] = given.value
                    arena_kill(&self.randomness, sequence)
                arena_kill(&self.open, wanted[i])
            arena_trim(&self.open)
            arena_trim(&self.randomness)
        self.picked_count = 0
        return (*columns, *sizes, seen)
