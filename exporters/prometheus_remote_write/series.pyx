"""Sets of labels by number."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp

from exporters.prometheus_remote_write.memory cimport copy, grown, rehashed
from exporters.prometheus_remote_write.symbols cimport NONE, SymbolTable

cdef enum:
    MOST_PAIRS = 1 << 25     # label pairs of one staged request: 256 MiB
    MOST_BYTES = 1 << 30     # of all labels as version 1 writes them: every bucket repeats those of its point


cdef class SeriesTable(SymbolTable):
    """Series: the same labels always get the same number."""

    def __cinit__(self):
        self.series_mask = 1023
        self.series_slots = <uint32_t*>calloc(self.series_mask + 1, sizeof(uint32_t))
        if self.series_slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.pairs)
        free(self.series)
        free(self.series_slots)
        free(self.families)

    cdef uint32_t family(self, uint32_t name, uint32_t kind, uint32_t about, uint32_t unit) except? 4294967295:
        cdef Family* family
        self.families = <Family*>grown(self.families, self.family_count, &self.family_room, sizeof(Family))
        family = self.families + self.family_count
        family.name = name
        family.type = kind
        family.help = about
        family.unit = unit
        self.family_count += 1
        return <uint32_t>(self.family_count - 1)

    cdef uint32_t series_of(
        self, Labels* labels, uint32_t name, uint32_t extra, uint32_t value, uint32_t at, bint replaces, uint32_t family
    ) except? 4294967295:
        """The series of `labels` with this `__name__`, and `extra`, unless NONE, before or in place of pair `at`."""
        cdef uint64_t lo = labels.lo + mix(self.symbols[self.name_label].lo, self.symbols[name].lo)
        cdef uint64_t hi = labels.hi + mix(self.symbols[self.name_label].hi, self.symbols[name].hi)
        cdef Pair* pair
        cdef Pair* begin
        cdef Series* series
        cdef size_t slot, size = 0
        cdef uint32_t count = 0, each, rest = labels.name_at
        if self.pair_count + labels.count > MOST_PAIRS:
            return NONE
        self.pair_room_for(labels.count + 2)
        begin = pair = self.pairs + self.pair_count
        copy(pair, labels.pairs, rest * sizeof(Pair))
        pair += rest
        pair.name = self.name_label
        pair.value = name
        pair += 1
        if extra != NONE:
            lo += mix(self.symbols[extra].lo, self.symbols[value].lo)
            hi += mix(self.symbols[extra].hi, self.symbols[value].hi)
            if replaces:
                lo -= mix(self.symbols[extra].lo, self.symbols[labels.pairs[at].value].lo)
                hi -= mix(self.symbols[extra].hi, self.symbols[labels.pairs[at].value].hi)
            copy(pair, labels.pairs + rest, (at - rest) * sizeof(Pair))
            pair += at - rest
            pair.name = extra
            pair.value = value
            pair += 1
            rest = at + replaces
        copy(pair, labels.pairs + rest, (labels.count - rest) * sizeof(Pair))
        pair += labels.count - rest
        count = <uint32_t>(pair - begin)
        slot = lo & self.series_mask
        while self.series_slots[slot]:
            series = self.series + self.series_slots[slot] - 1
            if (
                series.lo == lo and series.hi == hi and series.count == count
                and memcmp(self.pairs + series.pairs, begin, count * sizeof(Pair)) == 0
            ):
                return self.series_slots[slot] - 1
            slot = (slot + 1) & self.series_mask
        for each in range(count):
            size += 10 + self.symbols[begin[each].name].length + self.symbols[begin[each].value].length
        if self.label_bytes + size > MOST_BYTES:
            return NONE
        self.label_bytes += size
        self.series = <Series*>grown(self.series, self.series_count, &self.series_room, sizeof(Series))
        series = self.series + self.series_count
        series.lo = lo
        series.hi = hi
        series.pairs = <uint32_t>self.pair_count
        series.count = count
        series.family = family
        series.samples = 0
        series.size = <uint32_t>size
        self.pair_count += count
        self.series_count += 1
        self.series_slots[slot] = <uint32_t>self.series_count
        if self.series_count * 2 > self.series_mask:
            self.series_slots = rehashed(
                self.series_slots, &self.series_mask, self.series, sizeof(Series), self.series_count
            )
        return <uint32_t>(self.series_count - 1)

    cdef int pair_room_for(self, size_t more) except -1:
        cdef Pair* moved
        cdef size_t room
        if self.pair_count + more > self.pair_room:
            room = self.pair_room + self.pair_room // 2 + more + 4096
            moved = <Pair*>realloc(self.pairs, room * sizeof(Pair))
            if moved == NULL:
                raise MemoryError
            self.pairs = moved
            self.pair_room = room
        return 0
