"""Metric families: the names under which the samples of a metric go, and its type, help and unit."""

from libc.stdint cimport uint32_t

from exporters.prometheus_remote_write.points cimport GAUGE, SUM, SUMMARY
from exporters.prometheus_remote_write.request cimport Text
from exporters.prometheus_remote_write.series cimport SeriesTable
from exporters.prometheus_remote_write.symbols cimport NONE


cdef class Families:
    """Makes the families of one table after the other. `names(name, unit, kind)` gives a metric's name and unit for
    Prometheus; `kind` is 0 for a gauge, 1 for a counter and 2 for all else.
    """

    def __init__(self, names):
        self.translated = names

    cdef int begin(self, SeriesTable table) except -1:
        """Make families of `table` from now on."""
        self.table = table
        self.known = {}
        return 0

    cdef int name(self, Text* name, Text* about, Text* unit, uint32_t kind, bint counter, Names* names) except -1:
        """Names and family of a metric of `kind`; `base` is NONE where there is no name for it."""
        cdef SeriesTable table = self.table
        cdef uint32_t type_
        key = (slice_of(name), slice_of(unit), slice_of(about), kind, counter)
        found = self.known.get(key)
        if found is None:
            base, short = self.translated(key[0], key[1], 1 if counter else (0 if kind == GAUGE else 2))
            if not base:
                found = ()
            else:
                type_ = HISTOGRAM_FAMILY
                if kind == GAUGE or kind == SUM:
                    type_ = COUNTER if counter else GAUGE_FAMILY
                elif kind == SUMMARY:
                    type_ = SUMMARY_FAMILY
                named = table.intern_bytes(base)
                family = table.family(named, type_, table.intern_bytes(key[2]), table.intern_bytes(short))
                found = (
                    family, named, table.intern_bytes(base + b"_bucket"), table.intern_bytes(base + b"_sum"),
                    table.intern_bytes(base + b"_count"),
                )
            self.known[key] = found
        if not found:
            names.base = NONE
            return 0
        names.family, names.base, names.bucket, names.sum, names.count = found
        return 0


cdef bytes slice_of(Text* text):
    return (<const char*>text.begin)[:text.size] if text.size else b""
