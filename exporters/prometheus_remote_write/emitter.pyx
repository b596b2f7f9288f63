"""Samples of data points: floats, classic histograms bucket by bucket, native histograms, exemplars."""

from libc.math cimport INFINITY, isnan
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memset

from exporters.prometheus_remote_write.buckets cimport Buckets, shrink, trim
from exporters.prometheus_remote_write.exemplars cimport Exemplars, exemplar_value
from exporters.prometheus_remote_write.labeller cimport Labeller
from exporters.prometheus_remote_write.points cimport NO_RECORDED_VALUE, Point, Span, buckets_of, fill
from exporters.prometheus_remote_write.reasons cimport TOO_LARGE
from exporters.prometheus_remote_write.request cimport next_field
from exporters.prometheus_remote_write.samples cimport Sample, SampleTable
from exporters.prometheus_remote_write.series cimport Labels
from exporters.prometheus_remote_write.staleness cimport ordinary_nan, plain, stale_marker
from exporters.prometheus_remote_write.symbols cimport NONE
from exporters.wire.buffer cimport Buffer, close_length, open_length, put, put_double, put_varint
from exporters.wire.fields cimport FIXED64, Field
from exporters.wire.numbers cimport from_bits, load_double, zigzag

cdef enum:
    FINEST = 8               # scale of native histograms

cdef double THRESHOLD = 1e-128  # of a zero bucket, where the point doesn't say


cdef class Emitter:
    """Writes the samples of one point after the other into a table. `bound` gives the text of a number in a label."""

    def __init__(self, Labeller labeller, Exemplars exemplars, bound):
        self.labeller = labeller
        self.exemplars = exemplars
        self.bound = bound

    def __dealloc__(self):
        free(self.blob.data)
        free(self.heads)
        free(self.known_bounds.items)
        free(self.known_texts)

    cdef int begin(self, SampleTable table) except -1:
        """Write into `table` from now on."""
        self.table = table
        self.bounds = {}
        self.knows_bounds = False
        self.le = table.intern_bytes(b"le")
        self.quantile = table.intern_bytes(b"quantile")
        return self.exemplars.begin(table)

    cdef int emit(
        self, Labels* labels, uint32_t name, uint32_t extra, uint32_t value_symbol, uint32_t at, bint replaces,
        int64_t time, double value, int64_t created
    ) except -1:
        """One float sample. 1 where there is no room for its series: then the point has no samples at all."""
        cdef uint32_t series = self.table.series_of(
            labels, name, extra, value_symbol, at, replaces, self.metric.family
        )
        if series == NONE:
            self.table.refuse(self.row, TOO_LARGE)
            self.table.forget(self.first)
            return 1
        if self.point.flags & NO_RECORDED_VALUE:
            value = stale_marker()
        self.table.sample(series, time, value, created, self.row)
        return 0

    cdef int emit_number(self, Labels* labels, int64_t time, int64_t created) except -1:
        cdef size_t at
        if self.emit(labels, self.metric.base, NONE, 0, 0, False, time, plain(self.point.value), created):
            return 0
        for at in range(self.point.exemplars.count):
            self.add_exemplar(at)
        return 0

    cdef int emit_histogram(self, Labels* labels, int64_t time, int64_t created) except -1:
        cdef Point* point = self.point
        cdef size_t at, bounds = point.bounds.count, exemplar
        cdef uint64_t total = 0
        cdef bint replaces = False
        cdef uint32_t place = self.labeller.place_of(labels, self.le, &replaces)
        if bounds and from_bits(point.bounds.items[bounds - 1]) == INFINITY:
            bounds -= 1          # what lies above it is none of the buckets' business: the last one holds all
        self.text_bounds(bounds)
        if point.exemplars.count:
            self.sort_exemplars(bounds)
        for at in range(bounds + 1):
            if at == bounds:
                total = point.count
            elif at < point.counts.count:  # the mark of a stale series may come without counts
                total += point.counts.items[at]
            if self.emit(
                labels, self.metric.bucket, self.le, self.known_texts[at], place, replaces, time, <double>total, created
            ):
                return 0
            if point.exemplars.count:
                exemplar = self.heads[at]
                while exemplar:
                    self.add_exemplar(exemplar - 1)
                    exemplar = self.heads[bounds + exemplar]
        if point.has_sum or point.flags & NO_RECORDED_VALUE:
            if self.emit(labels, self.metric.sum, NONE, 0, 0, False, time, plain(point.sum), created):
                return 0
        self.emit(labels, self.metric.count, NONE, 0, 0, False, time, <double>point.count, created)
        return 0

    cdef int add_exemplar(self, size_t number) except -1:
        """Attach an exemplar of the point to the last sample."""
        cdef Span* exemplar = self.point.exemplars.items + number
        return self.exemplars.attach(self.table, exemplar.begin, exemplar.end)

    cdef int text_bounds(self, size_t bounds) except -1:
        """`known_texts`: symbols of the upper bounds, +Inf after them. The last histogram's are remembered."""
        cdef size_t at
        cdef uint32_t* moved
        cdef uint64_t* items = self.point.bounds.items
        if self.knows_bounds and self.known_bounds.count == bounds and (
            bounds == 0 or memcmp(self.known_bounds.items, items, bounds * 8) == 0
        ):
            return 0
        self.knows_bounds = False
        if self.known_room < bounds + 1:
            moved = <uint32_t*>realloc(self.known_texts, (bounds + 1) * 2 * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError
            self.known_texts = moved
            self.known_room = (bounds + 1) * 2
        for at in range(bounds + 1):
            value = from_bits(items[at]) if at < bounds else INFINITY
            found = self.bounds.get(value)
            if found is None:
                found = self.bounds[value] = self.table.intern_bytes(self.bound(value))
            self.known_texts[at] = found
        fill(&self.known_bounds, items, bounds)
        self.knows_bounds = True
        return 0

    cdef int sort_exemplars(self, size_t bounds) except -1:
        """Lists of exemplars by bucket: `heads[bucket]`, then `heads[bounds + number]`. Numbers begin at 1."""
        cdef size_t at, low, high, middle, wanted = bounds + 1 + self.point.exemplars.count
        cdef uint32_t* moved
        cdef double value
        if self.heads_room < wanted:
            moved = <uint32_t*>realloc(self.heads, wanted * 2 * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError
            self.heads = moved
            self.heads_room = wanted * 2
        memset(self.heads, 0, (bounds + 1) * sizeof(uint32_t))
        at = self.point.exemplars.count
        while at:
            value = exemplar_value(self.point.exemplars.items[at - 1].begin, self.point.exemplars.items[at - 1].end)
            low, high = 0, bounds
            while low < high:
                middle = (low + high) // 2
                if value <= from_bits(self.point.bounds.items[middle]):
                    high = middle
                else:
                    low = middle + 1
            self.heads[bounds + at] = self.heads[low]
            self.heads[low] = <uint32_t>at
            at -= 1
        return 0

    cdef int emit_summary(self, Labels* labels, int64_t time, int64_t created) except -1:
        cdef Point* point = self.point
        cdef size_t at
        cdef double level, value
        cdef bint replaces = False
        cdef uint32_t place = self.labeller.place_of(labels, self.quantile, &replaces)
        cdef const uint8_t* begin
        cdef Field field
        for at in range(point.quantiles.count):
            level = value = 0
            begin = point.quantiles.items[at].begin
            while begin < point.quantiles.items[at].end:
                next_field(begin, point.quantiles.items[at].end, &field)
                begin = field.after
                if field.wire == FIXED64 and field.number == 1:
                    level = load_double(field.body)
                elif field.wire == FIXED64 and field.number == 2:
                    value = load_double(field.body)
            found = self.bounds.get(level)
            if found is None or isnan(level):
                found = self.table.intern_bytes(self.bound(level))
                self.bounds[level] = found
            if self.emit(
                labels, self.metric.base, self.quantile, found, place, replaces, time, plain(value), created
            ):
                return 0
        if self.emit(labels, self.metric.sum, NONE, 0, 0, False, time, plain(point.sum), created):
            return 0
        self.emit(labels, self.metric.count, NONE, 0, 0, False, time, <double>point.count, created)
        return 0

    cdef int emit_exponential(self, Labels* labels, int64_t time, int64_t created) except -1:
        """A native histogram. Its bucket i ends where OTLP's bucket i begins, so the indices differ by one."""
        cdef Point* point = self.point
        cdef SampleTable table = self.table
        cdef Sample* sample
        cdef Buckets positive, negative
        cdef bint stale = (point.flags & NO_RECORDED_VALUE) != 0
        cdef size_t begin = table.blobs.used, at
        cdef uint32_t series = table.series_of(labels, self.metric.base, NONE, 0, 0, False, self.metric.family)
        if series == NONE:
            return table.refuse(self.row, TOO_LARGE)
        if begin >> 31:
            return table.refuse(self.row, TOO_LARGE)
        buckets_of(point, &positive, &negative)
        if point.scale > FINEST and not stale:
            shrink(&positive, <int>(point.scale - FINEST))
            shrink(&negative, <int>(point.scale - FINEST))
            point.scale = FINEST
        put_varint(&table.blobs, 8)
        put_varint(&table.blobs, 0 if stale else point.count)
        put_double(&table.blobs, 25, stale_marker() if stale else (
            plain(point.sum) if point.has_sum else ordinary_nan()
        ))
        if not stale:
            put_varint(&table.blobs, 32)
            put_varint(&table.blobs, zigzag(point.scale))
            put_double(&table.blobs, 41, point.threshold or THRESHOLD)
            put_varint(&table.blobs, 48)
            put_varint(&table.blobs, point.zero)
            self.put_buckets(&negative, 66, 74)
            self.put_buckets(&positive, 90, 98)
        put_varint(&table.blobs, 120)
        put_varint(&table.blobs, <uint64_t>time)
        sample = table.sample(series, time, 0, created, self.row)
        sample.histogram = <uint32_t>begin
        sample.size = <uint32_t>(table.blobs.used - begin)
        for at in range(point.exemplars.count):
            self.add_exemplar(at)
        return 0

    cdef int put_buckets(self, Buckets* buckets, uint32_t spans, uint32_t deltas) except -1:
        """Spans and deltas. A gap of up to two empty buckets is cheaper than a new span."""
        cdef Buffer* out = &self.table.blobs
        cdef size_t at = 0, first, last, empty, place
        cdef int64_t end = 0     # the bucket after the last span
        cdef int64_t before = 0
        self.blob.used = 0
        trim(buckets)
        while at < buckets.count:
            first = at
            last = at
            while at < buckets.count:
                if buckets.counts[at]:
                    last = at
                elif at - last > 2:
                    break
                at += 1
            open_length(out, spans, &place)
            put_varint(out, 8)
            put_varint(out, zigzag(buckets.offset + 1 + <int64_t>first - end))
            put_varint(out, 16)
            put_varint(out, last - first + 1)
            close_length(out, place)
            end = buckets.offset + 1 + <int64_t>last + 1
            for empty in range(first, last + 1):
                put_varint(&self.blob, zigzag(<int64_t>buckets.counts[empty] - before))
                before = <int64_t>buckets.counts[empty]
            at = last + 1
            while at < buckets.count and buckets.counts[at] == 0:
                at += 1
        if self.blob.used:
            put_varint(out, deltas)
            put_varint(out, self.blob.used)
            put(out, self.blob.data, self.blob.used)
        return 0
