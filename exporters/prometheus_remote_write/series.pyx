"""The series and samples of one staged request, and the order in which they are sent."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp

from exporters.prometheus_remote_write.memory cimport copy, same
from exporters.prometheus_remote_write.siphash cimport rotated, siphash
from exporters.wire.buffer cimport put
from exporters.wire.numbers cimport bits_of, load64

import numpy as np

cdef enum:
    MOST_PAIRS = 1 << 25     # label pairs of one staged request: 256 MiB
    MOST_BYTES = 1 << 30     # of all labels as version 1 writes them: every bucket repeats those of its point

cdef const char* NAME_LABEL = "__name__"


cdef uint64_t mix(uint64_t one, uint64_t other) noexcept nogil:
    """A hash of a pair; sums of these identify label sets whatever the order in which they were added."""
    cdef uint64_t value = one * <uint64_t>0x9e3779b97f4a7c15 ^ rotated(other, 31) * <uint64_t>0xc2b2ae3d27d4eb4f
    value = (value ^ (value >> 29)) * <uint64_t>0xbf58476d1ce4e5b9
    return value ^ (value >> 32)


cdef void* grown(void* data, size_t count, size_t* room, size_t size) except? NULL:
    """`data` with room for one more than `count` elements."""
    cdef size_t more
    cdef void* moved
    if count < room[0]:
        return data
    more = room[0] + room[0] // 2 + 64
    moved = realloc(data, more * size)
    if moved == NULL:
        raise MemoryError
    room[0] = more
    return moved


cdef struct Key:
    int64_t time
    uint32_t sample


cdef int by_time(const void* one, const void* other) noexcept nogil:
    cdef const Key* first = <const Key*>one
    cdef const Key* second = <const Key*>other
    if first.time != second.time:
        return 1 if first.time > second.time else -1
    return (first.sample > second.sample) - (first.sample < second.sample)


cdef class SeriesTable:
    """Made by `Translator.translate`.

    Samples stand in an order of their own: lane by lane (`lanes`, a list of (begin, end)), in a lane first the earliest
    sample of every series, then the second ones, and so on. A request is a range of that order, and so is each half of
    one; `next` ends it before a series comes again in it. A request that is sent twice is thus taken twice: each of its
    samples is the newest of its series, and Prometheus takes that again, but nothing older.
    """

    def __cinit__(self, bytes key not None):
        cdef const uint8_t* bits = key
        cdef int word
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        for word in range(4):
            self.key[word] = load64(bits + 8 * word)
        self.symbol_mask = 1023
        self.series_mask = 1023
        self.symbol_slots = <uint32_t*>calloc(self.symbol_mask + 1, sizeof(uint32_t))
        self.series_slots = <uint32_t*>calloc(self.series_mask + 1, sizeof(uint32_t))
        if self.symbol_slots == NULL or self.series_slots == NULL:
            raise MemoryError
        self.lanes = []
        self.intern(<const uint8_t*>NAME_LABEL, 0)
        self.name_label = self.intern(<const uint8_t*>NAME_LABEL, 8)

    def __dealloc__(self):
        free(self.text.data)
        free(self.blobs.data)
        free(self.symbols)
        free(self.symbol_slots)
        free(self.pairs)
        free(self.series)
        free(self.series_slots)
        free(self.samples)
        free(self.exemplars)
        free(self.families)
        free(self.reasons)
        free(self.order)

    # -- what the translation adds

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
            self.symbol_slots = rehashed_symbols(self.symbol_slots, &self.symbol_mask, self.symbols, self.symbol_count)
        return <uint32_t>(self.symbol_count - 1)

    cdef uint32_t intern_bytes(self, bytes text) except? 4294967295:
        return self.intern(text, len(text))

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

    cdef int compare(self, uint32_t one, uint32_t other) noexcept:
        """The order of two symbols, by bytes."""
        cdef Symbol* first = self.symbols + one
        cdef Symbol* second = self.symbols + other
        cdef size_t size = first.length if first.length < second.length else second.length
        cdef int found
        if one == other:
            return 0
        found = 0
        if size:
            found = memcmp(self.text.data + first.offset, self.text.data + second.offset, size)
        if found:
            return found
        return 1 if first.length > second.length else -1

    cdef int measure(self, Labels* labels) except -1:
        """Fill in what follows from the pairs."""
        cdef uint32_t at
        labels.lo = labels.hi = 0
        labels.name_at = labels.count
        for at in range(labels.count):
            labels.lo += mix(self.symbols[labels.pairs[at].name].lo, self.symbols[labels.pairs[at].value].lo)
            labels.hi += mix(self.symbols[labels.pairs[at].name].hi, self.symbols[labels.pairs[at].value].hi)
        for at in range(labels.count):
            if self.compare(labels.pairs[at].name, self.name_label) > 0:
                labels.name_at = at
                break
        return 0

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
            self.series_slots = rehashed_series(self.series_slots, &self.series_mask, self.series, self.series_count)
        return <uint32_t>(self.series_count - 1)

    cdef Sample* sample(
        self, uint32_t series, int64_t time, double value, int64_t created, uint32_t row
    ) except NULL:
        """Add a sample. The pointer holds until the next one is added."""
        cdef Sample* sample
        self.samples = <Sample*>grown(self.samples, self.sample_count, &self.sample_room, sizeof(Sample))
        sample = self.samples + self.sample_count
        sample.time = time
        sample.created = created
        sample.value = value
        sample.series = series
        sample.row = row
        sample.histogram = NONE
        sample.size = 0
        sample.exemplar = NONE
        self.sample_count += 1
        self.series[series].samples += 1
        return sample

    cdef Exemplar* new_exemplar(self, size_t labels) except NULL:
        """An exemplar with room for that many labels. The pointer holds until the next one is added."""
        cdef Exemplar* exemplar
        self.pair_room_for(labels)
        self.exemplars = <Exemplar*>grown(self.exemplars, self.exemplar_count, &self.exemplar_room, sizeof(Exemplar))
        exemplar = self.exemplars + self.exemplar_count
        exemplar.pairs = <uint32_t>self.pair_count
        exemplar.count = <uint32_t>labels
        self.pair_count += labels
        self.exemplar_count += 1
        return exemplar

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

    cdef int forget(self, size_t first) except -1:
        """Take the samples from `first` on back."""
        while self.sample_count > first:
            self.sample_count -= 1
            self.series[self.samples[self.sample_count].series].samples -= 1
        return 0

    cdef int next_row(self) except -1:
        """A row of its own for the next data point."""
        self.reasons = <uint8_t*>grown(self.reasons, self.row_count, &self.row_room, 1)
        self.reasons[self.row_count] = TAKEN
        self.row_count += 1
        return 0

    cdef int refuse(self, uint32_t row, uint8_t reason) except -1:
        if row != NONE and self.reasons[row] == TAKEN:
            self.reasons[row] = reason
        return 0

    # -- the order

    cdef int arrange(self, uint32_t lanes) except -1:
        """Put the samples in order, drop copies, refuse what contradicts another sample of the same time."""
        cdef size_t at, begin = 0, count, kept
        cdef uint32_t lane, each, turn
        cdef uint32_t* places = <uint32_t*>malloc((self.series_count + 1) * sizeof(uint32_t))
        cdef uint32_t* grouped = <uint32_t*>malloc((self.sample_count + 1) * sizeof(uint32_t))
        cdef uint32_t* waiting = <uint32_t*>malloc((self.series_count + 1) * sizeof(uint32_t))
        self.order = <uint32_t*>malloc((self.sample_count + 1) * sizeof(uint32_t))
        try:
            if places == NULL or grouped == NULL or waiting == NULL or self.order == NULL:
                raise MemoryError
            for at in range(self.series_count):
                places[at] = <uint32_t>begin
                begin += self.series[at].samples
            for at in range(self.sample_count):
                each = self.samples[at].series
                grouped[places[each]] = <uint32_t>at
                places[each] += 1
            for at in range(self.series_count):
                places[at] -= self.series[at].samples
                if self.series[at].samples:
                    self.series[at].samples = <uint32_t>self.settle(self.series[at].samples, grouped + places[at])
            for lane in range(lanes):
                begin = self.order_count
                count = turn = 0
                for at in range(self.series_count):
                    if self.series[at].hi % lanes == lane and self.series[at].samples:
                        waiting[count] = <uint32_t>at
                        count += 1
                while count:
                    kept = 0
                    for at in range(count):
                        each = waiting[at]
                        self.order[self.order_count] = grouped[places[each] + turn]
                        self.order_count += 1
                        if self.series[each].samples > turn + 1:
                            waiting[kept] = each
                            kept += 1
                    count = kept
                    turn += 1
                self.lanes.append((begin, self.order_count))
        finally:
            free(places)
            free(grouped)
            free(waiting)
        return 0

    cdef int settle(self, uint32_t count, uint32_t* kept) except -1:
        """Sort the samples of one series by time; returns how many stay."""
        cdef uint32_t at, used = 1
        cdef Sample* one
        cdef Sample* other
        cdef Key* keys
        cdef bint equal, sorted_already = True
        if count == 1:
            return 1
        for at in range(1, count):
            if self.samples[kept[at - 1]].time > self.samples[kept[at]].time:
                sorted_already = False
                break
        if not sorted_already:
            keys = <Key*>malloc(count * sizeof(Key))
            if keys == NULL:
                raise MemoryError
            for at in range(count):
                keys[at].sample = kept[at]
                keys[at].time = self.samples[kept[at]].time
            qsort(keys, count, sizeof(Key), by_time)
            for at in range(count):
                kept[at] = keys[at].sample
            free(keys)
        for at in range(1, count):
            one = self.samples + kept[used - 1]
            other = self.samples + kept[at]
            if one.time != other.time:
                kept[used] = kept[at]
                used += 1
                continue
            if one.histogram == NONE:
                equal = other.histogram == NONE and bits_of(one.value) == bits_of(other.value)
            else:
                equal = other.histogram != NONE and one.size == other.size and same(
                    self.blobs.data + one.histogram, self.blobs.data + other.histogram, one.size
                )
            if equal:
                self.duplicates += 1
            else:
                self.refuse(other.row, CONFLICT)
        return used

    # -- what the sender asks

    @property
    def rows(self):
        """Data points of the request."""
        return self.row_count

    @property
    def reasons(self):
        """One byte a row: 0, or the number of the word in `reasons.py` for which the row was refused. A copy."""
        if self.row_count == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer((<const char*>self.reasons)[:self.row_count], np.uint8).copy()

    def refuse_range(self, size_t begin, size_t end, int reason):
        """Refuse the rows behind the samples `begin` to `end`."""
        cdef size_t at
        for at in range(begin, end):
            self.refuse(self.samples[self.order[at]].row, <uint8_t>reason)

    def next(self, size_t begin, size_t end, size_t most_samples, size_t most_bytes):
        """Where a request that begins at `begin` ends: within both limits and before a series comes again, but one
        sample at least."""
        cdef size_t at = begin, size = 0
        cdef uint32_t before = NONE, first = NONE
        cdef bint wrapped = False
        cdef Sample* sample
        while at < end:
            sample = self.samples + self.order[at]
            size += self.series[sample.series].size + 40 + sample.size
            if at == begin:
                first = sample.series
            else:
                # Series ascend from one turn to the next, where they begin again at any that isn't in yet.
                if sample.series <= before:
                    if wrapped:
                        break
                    wrapped = True
                if (wrapped and sample.series >= first) or at - begin >= most_samples or size > most_bytes:
                    break
            before = sample.series
            at += 1
        return at

    def counts(self, size_t begin, size_t end):
        """(samples, histograms, exemplars) of a range."""
        cdef size_t at, histograms = 0, exemplars = 0
        cdef uint32_t exemplar
        for at in range(begin, end):
            histograms += self.samples[self.order[at]].histogram != NONE
            exemplar = self.samples[self.order[at]].exemplar
            while exemplar != NONE:
                exemplars += 1
                exemplar = self.exemplars[exemplar].before
        return end - begin - histograms, histograms, exemplars


cdef uint32_t* rehashed_symbols(uint32_t* old, size_t* mask, Symbol* symbols, size_t count) except NULL:
    cdef size_t larger = mask[0] * 2 + 1, at, slot
    cdef uint32_t* slots = <uint32_t*>calloc(larger + 1, sizeof(uint32_t))
    if slots == NULL:
        raise MemoryError
    for at in range(count):
        slot = symbols[at].lo & larger
        while slots[slot]:
            slot = (slot + 1) & larger
        slots[slot] = <uint32_t>(at + 1)
    free(old)
    mask[0] = larger
    return slots


cdef uint32_t* rehashed_series(uint32_t* old, size_t* mask, Series* series, size_t count) except NULL:
    cdef size_t larger = mask[0] * 2 + 1, at, slot
    cdef uint32_t* slots = <uint32_t*>calloc(larger + 1, sizeof(uint32_t))
    if slots == NULL:
        raise MemoryError
    for at in range(count):
        slot = series[at].lo & larger
        while slots[slot]:
            slot = (slot + 1) & larger
        slots[slot] = <uint32_t>(at + 1)
    free(old)
    mask[0] = larger
    return slots
