"""Exemplars of data points: the ids of a trace, attributes as far as they fit, value and time."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from exporters.prometheus_remote_write.label_reader cimport LabelReader
from exporters.prometheus_remote_write.labels cimport add_attribute, alike, sort_attributes
from exporters.prometheus_remote_write.request cimport Text, next_field
from exporters.prometheus_remote_write.samples cimport Exemplar, Sample, SampleTable
from exporters.prometheus_remote_write.staleness cimport plain
from exporters.prometheus_remote_write.symbols cimport SymbolTable
from exporters.wire.fields cimport BYTES, FIXED64, Field
from exporters.wire.numbers cimport load64

cdef enum:
    MOST_CHARACTERS = 128    # of all labels of an exemplar
    NS_PER_MS = 1000000

cdef const char* HEX = "0123456789abcdef"


cdef class Exemplars(LabelReader):
    """Attaches exemplars to the samples of one table after the other."""

    def __dealloc__(self):
        free(self.own.items)
        free(self.chosen.items)

    cdef int begin(self, SampleTable table) except -1:
        """Attach to samples of `table` from now on."""
        self.table = table
        self.trace_id = table.intern_bytes(b"trace_id")
        self.span_id = table.intern_bytes(b"span_id")
        return 0

    cdef int attach(self, SampleTable table, const uint8_t* begin, const uint8_t* end) except -1:
        """Attach the Exemplar between `begin` and `end` to the last sample."""
        cdef uint64_t time = self.choose_labels(begin, end, &table.exemplars_cut)
        cdef Exemplar* exemplar = table.new_exemplar(self.chosen.count)
        cdef Sample* sample = table.samples + table.sample_count - 1
        cdef size_t at
        exemplar.time = <int64_t>(time // NS_PER_MS) if 0 < time < <uint64_t>1 << 63 else sample.time
        exemplar.value = plain(exemplar_value(begin, end))
        exemplar.before = sample.exemplar
        for at in range(exemplar.count):
            table.pairs[exemplar.pairs + at].name = self.chosen.items[at].name
            table.pairs[exemplar.pairs + at].value = self.chosen.items[at].value
        sample.exemplar = <uint32_t>(exemplar - table.exemplars)
        return 0

    cdef uint64_t choose_labels(self, const uint8_t* at, const uint8_t* end, int* cut) except? 18446744073709551615:
        """The labels of an exemplar in `chosen`, ids first, then the attributes that still fit; its time in ns.

        `cut` counts those that don't.
        """
        cdef SymbolTable table = self.table
        cdef Field field
        cdef Text trace, span
        cdef uint64_t time = 0
        cdef size_t room = MOST_CHARACTERS, first = 0, stop, size
        cdef uint32_t name, text
        cdef bint traced, spanned
        trace.size = span.size = 0
        self.chosen.count = 0
        self.own.count = 0
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.wire == FIXED64 and field.number == 2:
                time = load64(field.body)
            elif field.wire == BYTES and field.number == 4:
                span.begin, span.size = field.body, field.after - field.body
            elif field.wire == BYTES and field.number == 5:
                trace.begin, trace.size = field.body, field.after - field.body
            elif field.wire == BYTES and field.number == 7:
                self.read_label(&self.own, field.body, field.after)
        sort_attributes(table, &self.own)
        traced = trace.size == 16 and any_bit(&trace)
        spanned = span.size == 8 and any_bit(&span)
        if traced:
            add_attribute(&self.chosen, self.trace_id, self.hex(&trace))
            room -= 8 + 32
        if spanned:
            add_attribute(&self.chosen, self.span_id, self.hex(&span))
            room -= 7 + 16
        while first < self.own.count:
            stop = alike(&self.own, first)
            name = self.own.items[first].name
            text = self.value_of(&self.own, first, stop)
            first = stop
            if text == 0 or name == table.name_label:
                continue
            if (traced and name == self.trace_id) or (spanned and name == self.span_id):
                continue
            size = characters(table.text.data + table.symbols[name].offset, table.symbols[name].length)
            size += characters(table.text.data + table.symbols[text].offset, table.symbols[text].length)
            if size > room:
                cut[0] += 1
                continue
            room -= size
            add_attribute(&self.chosen, name, text)
        sort_attributes(table, &self.chosen)
        return time

    cdef uint32_t hex(self, Text* identifier) except? 4294967295:
        cdef uint8_t[32] text
        cdef size_t at
        for at in range(identifier.size):
            text[2 * at] = HEX[identifier.begin[at] >> 4]
            text[2 * at + 1] = HEX[identifier.begin[at] & 15]
        return self.table.intern(text, 2 * identifier.size)


cdef size_t characters(const uint8_t* text, size_t size) noexcept nogil:
    cdef size_t at, count = 0
    for at in range(size):
        count += text[at] & 0xc0 != 0x80
    return count


cdef bint any_bit(Text* identifier) noexcept nogil:
    cdef size_t at
    for at in range(identifier.size):
        if identifier.begin[at]:
            return True
    return False
