"""Ranges of staged samples as messages of remote write.

1.0: https://prometheus.io/docs/specs/prw/remote_write_spec/
2.0: https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcpy

from exporters.prometheus_remote_write.samples cimport Exemplar, Sample, SampleTable
from exporters.prometheus_remote_write.series cimport Family, Pair, Series
from exporters.prometheus_remote_write.symbols cimport NONE, Symbol
from exporters.wire.buffer cimport Buffer, close_length, open_length, put, put_double, put_varint, reserve
from exporters.wire.fields cimport varint_size, write_varint


cdef int by_exemplar_time(const void* one, const void* other) noexcept nogil:
    cdef int64_t first = (<const Exemplar*>one).time, second = (<const Exemplar*>other).time
    return (first > second) - (first < second)


cdef class Messages:
    """Writes the messages of one table."""

    cdef SampleTable table
    cdef Buffer out, body
    cdef uint32_t* local     # by symbol: one more than its number in the message, 0 where it has none
    cdef size_t local_room
    cdef uint32_t* used      # by number: the symbol
    cdef uint32_t locals_used

    def __init__(self, SampleTable table not None):
        self.table = table

    def __dealloc__(self):
        free(self.out.data)
        free(self.body.data)
        free(self.local)
        free(self.used)

    cdef size_t run(self, size_t begin, size_t end, int version) noexcept:
        """The end of the samples that go into one TimeSeries with the first."""
        cdef Sample* first = self.table.samples + self.table.order[begin]
        cdef Sample* other
        cdef size_t at = begin + 1
        while at < end:
            other = self.table.samples + self.table.order[at]
            if other.series != first.series or (other.histogram == NONE) != (first.histogram == NONE):
                break
            if version == 2 and other.created != first.created:
                break
            at += 1
        return at

    cdef int put_sample(self, Sample* sample, int version) except -1:
        """The fields of a Sample or Histogram."""
        cdef size_t place
        open_length(&self.body, 18 if sample.histogram == NONE else (34 if version == 1 else 26), &place)
        if sample.histogram == NONE:
            put_double(&self.body, 9, sample.value)
            put_varint(&self.body, 16)
            put_varint(&self.body, <uint64_t>sample.time)
            if version == 2 and sample.created:
                put_varint(&self.body, 24)
                put_varint(&self.body, <uint64_t>sample.created)
        else:
            put(&self.body, self.table.blobs.data + sample.histogram, sample.size)
            if version == 2 and sample.created:
                put_varint(&self.body, 136)
                put_varint(&self.body, <uint64_t>sample.created)
        close_length(&self.body, place)
        return 0

    def write_v1(self, size_t begin, size_t end, bint metadata=False):
        """`prometheus.WriteRequest` of a range, with the metadata of its families where it is asked for."""
        cdef size_t at = begin, stop, each, series_place, place
        cdef Series* series
        cdef Pair* pair
        self.body.used = 0
        while at < end:
            stop = self.run(at, end, 1)
            series = self.table.series + self.table.samples[self.table.order[at]].series
            open_length(&self.body, 10, &series_place)
            for each in range(series.count):
                pair = self.table.pairs + series.pairs + each
                put_label(&self.body, &self.table.text, self.table.symbols + pair.name, self.table.symbols + pair.value)
            for each in range(at, stop):
                self.put_sample(self.table.samples + self.table.order[each], 1)
            self.put_exemplars(at, stop, 1)
            close_length(&self.body, series_place)
            at = stop
        if metadata:
            for each in families_of(self.table, begin, end):
                open_length(&self.body, 26, &place)
                if self.table.families[each].type:
                    put_varint(&self.body, 8)
                    put_varint(&self.body, self.table.families[each].type)
                put_text(&self.body, 18, &self.table.text, self.table.symbols + self.table.families[each].name)
                put_text(&self.body, 34, &self.table.text, self.table.symbols + self.table.families[each].help)
                put_text(&self.body, 42, &self.table.text, self.table.symbols + self.table.families[each].unit)
                close_length(&self.body, place)
        return (<const char*>self.body.data)[:self.body.used] if self.body.used else b""

    def write_v2(self, size_t begin, size_t end):
        """`io.prometheus.write.v2.Request` of a range."""
        cdef size_t at = begin, stop, each, series_place, place
        cdef Series* series
        cdef Family* family
        cdef Sample* first
        self.body.used = 0
        self.forget_locals()
        self.localise(0)
        while at < end:
            stop = self.run(at, end, 2)
            first = self.table.samples + self.table.order[at]
            series = self.table.series + first.series
            open_length(&self.body, 42, &series_place)
            open_length(&self.body, 10, &place)
            for each in range(series.pairs, series.pairs + series.count):
                self.localise(self.table.pairs[each].name)
                put_varint(&self.body, self.local[self.table.pairs[each].name] - 1)
                self.localise(self.table.pairs[each].value)
                put_varint(&self.body, self.local[self.table.pairs[each].value] - 1)
            close_length(&self.body, place)
            for each in range(at, stop):
                self.put_sample(self.table.samples + self.table.order[each], 2)
            self.put_exemplars(at, stop, 2)
            if series.family != NONE:
                family = self.table.families + series.family
                self.localise(family.help)
                self.localise(family.unit)
                open_length(&self.body, 42, &place)
                put_varint(&self.body, 8)
                put_varint(&self.body, family.type)
                if self.local[family.help] > 1:
                    put_varint(&self.body, 24)
                    put_varint(&self.body, self.local[family.help] - 1)
                if self.local[family.unit] > 1:
                    put_varint(&self.body, 32)
                    put_varint(&self.body, self.local[family.unit] - 1)
                close_length(&self.body, place)
            if first.created:
                put_varint(&self.body, 48)
                put_varint(&self.body, <uint64_t>first.created)
            close_length(&self.body, series_place)
            at = stop
        self.out.used = 0
        for each in range(self.locals_used):
            put_varint(&self.out, 34)
            put_varint(&self.out, self.table.symbols[self.used[each]].length)
            put(
                &self.out,
                self.table.text.data + self.table.symbols[self.used[each]].offset,
                self.table.symbols[self.used[each]].length,
            )
        put(&self.out, self.body.data, self.body.used)
        return (<const char*>self.out.data)[:self.out.used]

    cdef int forget_locals(self) except -1:
        """Begin a request whose symbols are numbered anew."""
        cdef size_t each
        if self.local_room < self.table.symbol_count:
            free(self.local)
            free(self.used)
            self.local = <uint32_t*>calloc(self.table.symbol_count, sizeof(uint32_t))
            self.used = <uint32_t*>malloc(self.table.symbol_count * sizeof(uint32_t))
            self.local_room = self.table.symbol_count if self.local != NULL and self.used != NULL else 0
            if self.local_room == 0:
                raise MemoryError
        else:
            for each in range(self.locals_used):
                self.local[self.used[each]] = 0
        self.locals_used = 0
        return 0

    cdef int localise(self, uint32_t symbol) except -1:
        """Give `symbol` a number in the request, which is `local[symbol] - 1`."""
        if self.local[symbol] == 0:
            self.used[self.locals_used] = symbol
            self.locals_used += 1
            self.local[symbol] = self.locals_used
        return 0

    cdef int put_exemplars(self, size_t begin, size_t end, int version) except -1:
        """The exemplars of samples of one series, by time."""
        cdef size_t at, count = 0, each, place, inner = 0
        cdef uint32_t exemplar
        cdef Pair* pair
        cdef Exemplar* sorted_ones
        for at in range(begin, end):
            exemplar = self.table.samples[self.table.order[at]].exemplar
            while exemplar != NONE:
                count += 1
                exemplar = self.table.exemplars[exemplar].before
        if count == 0:
            return 0
        sorted_ones = <Exemplar*>malloc(count * sizeof(Exemplar))
        if sorted_ones == NULL:
            raise MemoryError
        try:
            each = count
            for at in range(end - begin):
                exemplar = self.table.samples[self.table.order[end - 1 - at]].exemplar
                while exemplar != NONE:
                    each -= 1
                    sorted_ones[each] = self.table.exemplars[exemplar]
                    exemplar = self.table.exemplars[exemplar].before
            if count > 1:
                qsort(sorted_ones, count, sizeof(Exemplar), by_exemplar_time)
            for at in range(count):
                open_length(&self.body, 26 if version == 1 else 34, &place)
                if version == 2 and sorted_ones[at].count:
                    open_length(&self.body, 10, &inner)
                for each in range(sorted_ones[at].count):
                    pair = self.table.pairs + sorted_ones[at].pairs + each
                    if version == 1:
                        put_label(
                            &self.body,
                            &self.table.text,
                            self.table.symbols + pair.name,
                            self.table.symbols + pair.value,
                        )
                    else:
                        self.localise(pair.name)
                        put_varint(&self.body, self.local[pair.name] - 1)
                        self.localise(pair.value)
                        put_varint(&self.body, self.local[pair.value] - 1)
                if version == 2 and sorted_ones[at].count:
                    close_length(&self.body, inner)
                put_double(&self.body, 17, sorted_ones[at].value)
                put_varint(&self.body, 24)
                put_varint(&self.body, <uint64_t>sorted_ones[at].time)
                close_length(&self.body, place)
        finally:
            free(sorted_ones)
        return 0


cdef list families_of(SampleTable table, size_t begin, size_t end):
    """The families of a range, each once."""
    cdef dict found = {}
    cdef size_t at
    cdef uint32_t series = NONE
    for at in range(begin, end):
        if table.samples[table.order[at]].series != series:
            series = table.samples[table.order[at]].series
            if table.series[series].family != NONE:
                found[table.series[series].family] = None
    return list(found)


cdef inline int put_text(Buffer* out, uint8_t tag, Buffer* text, Symbol* symbol) except -1:
    if symbol.length:
        put_varint(out, tag)
        put_varint(out, symbol.length)
        put(out, text.data + symbol.offset, symbol.length)
    return 0


cdef inline int put_label(Buffer* out, Buffer* text, Symbol* name, Symbol* value) except -1:
    """A Label of version 1."""
    cdef uint8_t* at
    reserve(out, 32 + name.length + value.length)
    at = out.data + out.used
    at[0] = 10
    at = write_varint(
        at + 1, 2 + varint_size(name.length) + name.length + varint_size(value.length) + value.length
    )
    at[0] = 10
    at = write_varint(at + 1, name.length)
    memcpy(at, text.data + name.offset, name.length)
    at += name.length
    at[0] = 18
    at = write_varint(at + 1, value.length)
    memcpy(at, text.data + value.offset, value.length)
    out.used = at + value.length - out.data
    return 0
