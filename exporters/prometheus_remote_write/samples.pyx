"""The samples of one staged request, and the order in which they are sent."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, qsort

from exporters.prometheus_remote_write.memory cimport grown, same
from exporters.prometheus_remote_write.reasons cimport CONFLICT, TAKEN
from exporters.prometheus_remote_write.series cimport SeriesTable
from exporters.prometheus_remote_write.symbols cimport NONE
from exporters.wire.numbers cimport bits_of

import numpy as np


cdef struct Key:
    int64_t time
    uint32_t sample


cdef int by_time(const void* one, const void* other) noexcept nogil:
    cdef const Key* first = <const Key*>one
    cdef const Key* second = <const Key*>other
    if first.time != second.time:
        return 1 if first.time > second.time else -1
    return (first.sample > second.sample) - (first.sample < second.sample)


cdef class SampleTable(SeriesTable):
    """Made by `Translator.translate`.

    Samples stand in an order of their own: lane by lane (`lanes`, a list of (begin, end)), in a lane first the earliest
    sample of every series, then the second ones, and so on. A request is a range of that order, and so is each half of
    one; `next` ends it before a series comes again in it. A request that is sent twice is thus taken twice: each of its
    samples is the newest of its series, and Prometheus takes that again, but nothing older.
    """

    def __cinit__(self):
        self.lanes = []

    def __dealloc__(self):
        free(self.blobs.data)
        free(self.samples)
        free(self.exemplars)
        free(self.reasons)
        free(self.order)

    # -- what the translation adds

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
            self.infos_refused += self.samples[self.order[at]].row == NONE
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
