"""Delta to cumulative: a running total for each series, whose changes are made durable before they are sent."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

from exporters.prometheus_remote_write.total cimport ENDS, Total, release
from exporters.prometheus_remote_write.total_state cimport name_of, row_of, total_of


cdef class Accumulator:
    """Totals by the identity of their series, at most `most` of them; one that got nothing for `stale_ns` is forgotten
    when room is needed or at the next sweep.
    """

    def __cinit__(self, size_t most, uint64_t stale_ns):
        self.mask = 1023
        self.most = most
        self.stale = stale_ns
        self.expired = []
        self.slots = <Total**>calloc(self.mask + 1, sizeof(Total*))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef size_t at
        if self.slots != NULL:
            for at in range(self.mask + 1):
                if self.slots[at] != NULL:
                    release(self.slots[at])
        free(self.slots)
        free(self.changes)

    def load(self, bytes name, bytes row):
        """Take back what `take_changes` gave for one series. Raises `ValueError` for anything else."""
        cdef Total* total = total_of(name, row)
        try:
            if self.found(total.lo, total.hi) != NULL:
                raise ValueError("the state of a series is there twice")
            self.insert(total)
        except BaseException:
            release(total)
            raise

    def take_changes(self):
        """([(name, row)] of the series that changed, [(name,)] of those that are forgotten), since the last time."""
        cdef list changed = []
        cdef size_t at
        for at in range(self.change_count):
            changed.append((name_of(self.changes[at]), row_of(self.changes[at])))
            self.changes[at].changed = False
        self.change_count = 0
        expired, self.expired = self.expired, []
        return changed, expired

    cdef Total* found(self, uint64_t lo, uint64_t hi) noexcept:
        cdef size_t slot = lo & self.mask
        while self.slots[slot] != NULL:
            if self.slots[slot].lo == lo and self.slots[slot].hi == hi:
                return self.slots[slot]
            slot = (slot + 1) & self.mask
        return NULL

    cdef Place place(
        self, uint64_t lo, uint64_t hi, uint8_t kind, uint64_t start, uint64_t end, uint64_t now, Total** found
    ) except *:
        """Where the interval that ends at `end` stands in its series, which is made if there is none."""
        cdef Total* total = self.found(lo, hi)
        cdef int at
        if now - self.swept > self.stale // 4 or self.swept == 0:
            self.sweep(now)
            total = self.found(lo, hi)
        if total == NULL:
            if self.count >= self.most:
                return FULL
            total = <Total*>calloc(1, sizeof(Total))
            if total == NULL:
                raise MemoryError
            total.lo = lo
            total.hi = hi
            total.kind = kind
            total.seen = now
            total.start = start if 0 < start < end else end
            try:
                self.insert(total)
            except BaseException:
                release(total)
                raise
        found[0] = total
        if end > total.ends[0]:
            return NEXT
        total.seen = now
        if end == total.ends[0]:
            self.duplicates += 1
            return AGAIN
        for at in range(1, ENDS):
            if end == total.ends[at]:
                break
            if end > total.ends[at]:
                return BEHIND
        self.duplicates += 1
        return KNOWN

    cdef int commit(self, Total* total, uint64_t start, uint64_t end, uint64_t now) except -1:
        """An interval was added. `start` is 0, or where the total begins anew."""
        cdef Total** moved
        memmove(&total.ends[1], &total.ends[0], 8 * (ENDS - 1))
        total.ends[0] = end
        total.seen = now
        if start:
            total.start = start
        if not total.changed:
            if self.change_count == self.change_room:
                moved = <Total**>realloc(self.changes, (self.change_room * 2 + 64) * sizeof(Total*))
                if moved == NULL:
                    raise MemoryError
                self.changes = moved
                self.change_room = self.change_room * 2 + 64
            self.changes[self.change_count] = total
            self.change_count += 1
            total.changed = True
        return 0

    cdef int insert(self, Total* total) except -1:
        cdef size_t slot
        if (self.count + 1) * 2 > self.mask:
            self.rebuild(self.mask * 2 + 1)
        slot = total.lo & self.mask
        while self.slots[slot] != NULL:
            slot = (slot + 1) & self.mask
        self.slots[slot] = total
        self.count += 1
        return 0

    cdef int rebuild(self, size_t mask) except -1:
        cdef Total** slots = <Total**>calloc(mask + 1, sizeof(Total*))
        cdef size_t at, slot
        if slots == NULL:
            raise MemoryError
        for at in range(self.mask + 1):
            if self.slots[at] != NULL:
                slot = self.slots[at].lo & mask
                while slots[slot] != NULL:
                    slot = (slot + 1) & mask
                slots[slot] = self.slots[at]
        free(self.slots)
        self.slots = slots
        self.mask = mask
        return 0

    cdef int sweep(self, uint64_t now) except -1:
        """Forget what is stale, but for what changed and isn't durable yet."""
        cdef size_t at, kept = self.count
        self.swept = now
        for at in range(self.mask + 1):
            if self.slots[at] != NULL and not self.slots[at].changed and self.slots[at].seen + self.stale < now:
                self.expired.append((name_of(self.slots[at]),))
                release(self.slots[at])
                self.slots[at] = NULL
                self.count -= 1
        return self.rebuild(self.mask) if kept != self.count else 0
