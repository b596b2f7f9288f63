"""Attributes one by one, and those of which one label is made."""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free

from exporters.prometheus_remote_write.labels cimport Attribute, Attributes, add_attribute, label_name, read_attribute
from exporters.prometheus_remote_write.request cimport Text
from exporters.wire.buffer cimport put


cdef class LabelReader:
    """Reads for one table, `table`, after the other. `render` gives the text of values that are none of string, bool,
    int; with `utf8` names are left as they are.
    """

    def __init__(self, render, bint utf8):
        self.render = render
        self.utf8 = utf8

    def __dealloc__(self):
        free(self.scratch.data)
        free(self.joined.data)

    cdef int read_label(self, Attributes* list, const uint8_t* at, const uint8_t* end) except -1:
        """Add one attribute, name sanitised, value as text."""
        cdef Text[2] key
        cdef Attribute* attribute
        cdef uint32_t value
        if read_attribute(self.table, &self.scratch, self.render, at, end, self.utf8, key):
            value = self.table.intern(key[1].begin, key[1].size)
        else:
            value = self.table.intern(self.scratch.data, self.scratch.used)
        attribute = add_attribute(
            list, label_name(self.table, &self.scratch, key[0].begin, key[0].size, self.utf8), value
        )
        attribute.key = key[0].begin
        attribute.size = <uint32_t>key[0].size
        return 0

    cdef uint32_t value_of(self, Attributes* list, size_t first, size_t end) except? 4294967295:
        """The values of attributes that share a name, joined by semicolons in the order of the original keys."""
        cdef size_t at
        if end == first + 1:
            return list.items[first].value
        self.joined.used = 0
        for at in range(first, end):
            if at > first:
                put(&self.joined, <const char*>";", 1)
            self.join(list.items[at].value)
        return self.table.intern(self.joined.data, self.joined.used)

    cdef int join(self, uint32_t symbol) except -1:
        return put(
            &self.joined, self.table.text.data + self.table.symbols[symbol].offset, self.table.symbols[symbol].length
        )
