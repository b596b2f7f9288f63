"""Samples that the backend has taken, by 128 bits of a keyed hash each: what comes again isn't sent again.

A sample's hash covers its series, its time and its value, so another value of the same time is another sample. 64 of
the bits are its place in an open-addressing table and 64 stand there. A stranger's sample is found in the place of
another with a probability of about 2**-63, and nobody outside can choose one: the key is random and secret.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from exporters.prometheus_remote_write.samples cimport Sample, SampleTable
from exporters.prometheus_remote_write.series cimport Series, mix
from exporters.prometheus_remote_write.siphash cimport siphash
from exporters.prometheus_remote_write.symbols cimport NONE
from exporters.prometheus_remote_write.target_info cimport TARGET_EVERY
from exporters.wire.numbers cimport bits_of, load64, write_fixed64

cdef extern from *:
    """
    #define bc_prefetch(address) __builtin_prefetch(address)
    """
    void bc_prefetch(const void* address) noexcept nogil

cdef enum:
    AHEAD = 32               # samples whose places are fetched before they are looked at
    ENTRY = 16               # bytes of a hash in a file


cdef struct Hash:
    uint64_t place, mark     # `mark` is never 0


cdef struct Generation:
    uint64_t* marks          # 0 where none stands
    size_t mask
    size_t count


cdef Hash hash_of(SampleTable table, const Sample* sample, int64_t later) noexcept nogil:
    """The hash of a sample. That of target_info stands for its minute, or one `later`: which points it came with,
    and so its time, differs when they come again."""
    cdef const Series* series = table.series + sample.series
    cdef uint64_t time = <uint64_t>sample.time, value
    cdef Hash found
    if sample.row == NONE:
        time = <uint64_t>(sample.time // TARGET_EVERY + later)
        value = 1
    elif sample.histogram == NONE:
        value = bits_of(sample.value)
    else:
        value = siphash(table.blobs.data + sample.histogram, sample.size, table.key[2], table.key[3])
    found.place = mix(mix(series.hi, time), value)
    found.mark = mix(mix(series.lo, time), value)
    if found.mark == 0:
        found.mark = 1
    return found


cdef inline bint holds(const Generation* one, Hash hash) noexcept nogil:
    cdef size_t slot = hash.place & one.mask
    if one.marks == NULL:
        return False
    while one.marks[slot]:
        if one.marks[slot] == hash.mark:
            return True
        slot = (slot + 1) & one.mask
    return False


cdef inline void insert(Generation* into, Hash hash) noexcept nogil:
    """Note a hash; there must be an empty slot beside the one that it takes."""
    cdef size_t slot = hash.place & into.mask
    while into.marks[slot]:
        if into.marks[slot] == hash.mark:
            return
        slot = (slot + 1) & into.mask
    into.marks[slot] = hash.mark
    into.count += 1


cdef inline size_t room_of(const Generation* one) noexcept nogil:
    """How many more it takes before its chains grow long."""
    cdef size_t most = (one.mask + 1) // 4 * 3
    return most - one.count if one.marks != NULL and most > one.count else 0


cdef class SentSamples:
    """Two generations of hashes: what is noted goes into the recent one, and both are looked into."""

    cdef Generation recent, older

    def __dealloc__(self):
        free(self.recent.marks)
        free(self.older.marks)

    @property
    def count(self):
        """Samples that are remembered."""
        return self.recent.count + self.older.count

    @property
    def room(self):
        """Samples that the recent generation still takes."""
        return room_of(&self.recent)

    @property
    def slots(self):
        """Slots of the recent generation: three quarters of them are used at the most."""
        return self.recent.mask + 1 if self.recent.marks != NULL else 0

    def begin(self, size_t slots):
        """Begin a generation of that many slots, a power of two. The recent one becomes the older, that is gone."""
        cdef uint64_t* marks = room_for(slots)
        free(self.older.marks)
        self.older = self.recent
        self.recent.marks = marks
        self.recent.mask = slots - 1
        self.recent.count = 0

    def load(self, const uint8_t[::1] entries not None):
        """Note what `note` returned, as far as there is room; bytes at the end that are no whole entry are left."""
        self.fill(&self.recent, entries)

    def grow(self, size_t slots, const uint8_t[::1] entries not None):
        """Give the recent generation that many slots. `entries` is all that was noted in it: the table holds but a half
        of each hash."""
        cdef Generation larger
        larger.marks = room_for(slots)
        larger.mask = slots - 1
        larger.count = 0
        self.fill(&larger, entries)
        free(self.recent.marks)
        self.recent = larger

    cdef int fill(self, Generation* into, const uint8_t[::1] entries) except -1:
        cdef size_t at, count = entries.shape[0] // ENTRY
        cdef Hash hash
        for at in range(min(count, room_of(into))):
            hash.place = load64(&entries[at * ENTRY])
            hash.mark = load64(&entries[at * ENTRY + 8])
            if hash.mark:
                insert(into, hash)
        return 0

    def sift(self, SampleTable table not None, size_t begin, size_t end):
        """Take the samples that are known out of the range, whose others keep their order. Its new end."""
        cdef Hash[AHEAD] hashes
        cdef size_t at = begin, kept = begin, each, count
        cdef uint32_t number
        cdef const Sample* sample
        if end > table.order_count or begin > end:
            raise IndexError("no such samples")
        if self.recent.count + self.older.count == 0:
            return end
        while at < end:
            count = min(end - at, <size_t>AHEAD)
            for each in range(count):
                hashes[each] = hash_of(table, table.samples + table.order[at + each], 0)
                self.fetch(hashes[each])
            for each in range(count):
                number = table.order[at + each]
                sample = table.samples + number
                if self.knows(hashes[each]) or (sample.row == NONE and self.knows(hash_of(table, sample, 1))):
                    continue
                table.order[kept] = number
                kept += 1
            at += count
        return kept

    def note(self, SampleTable table not None, size_t begin, size_t end):
        """Note the samples of a range; their entries, to be kept in a file. Raises `ValueError` without the room."""
        cdef Hash[AHEAD] hashes
        cdef size_t at = begin, each, count
        cdef bytes entries
        cdef uint8_t* out
        if end > table.order_count or begin > end:
            raise IndexError("no such samples")
        if end - begin > room_of(&self.recent):
            raise ValueError("the generation is full")
        entries = bytes((end - begin) * ENTRY)
        out = <uint8_t*><char*>entries
        while at < end:
            count = min(end - at, <size_t>AHEAD)
            for each in range(count):
                hashes[each] = hash_of(table, table.samples + table.order[at + each], 0)
                bc_prefetch(self.recent.marks + (hashes[each].place & self.recent.mask))
            for each in range(count):
                insert(&self.recent, hashes[each])
                write_fixed64(out, hashes[each].place)
                write_fixed64(out + 8, hashes[each].mark)
                out += ENTRY
            at += count
        return entries

    cdef inline void fetch(self, Hash hash) noexcept nogil:
        bc_prefetch(self.recent.marks + (hash.place & self.recent.mask))
        if self.older.marks != NULL:
            bc_prefetch(self.older.marks + (hash.place & self.older.mask))

    cdef inline bint knows(self, Hash hash) noexcept nogil:
        return holds(&self.recent, hash) or holds(&self.older, hash)


cdef uint64_t* room_for(size_t slots) except NULL:
    if slots < 4 or slots & (slots - 1):
        raise ValueError("the slots of a generation are a power of two, four at least")
    cdef uint64_t* marks = <uint64_t*>calloc(slots, sizeof(uint64_t))
    if marks == NULL:
        raise MemoryError
    return marks
