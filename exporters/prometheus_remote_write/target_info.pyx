"""`target_info`: once a minute, and for how many resources that is remembered."""

from libc.stdint cimport int64_t, uint32_t

from exporters.prometheus_remote_write.families cimport INFO
from exporters.prometheus_remote_write.samples cimport SampleTable
from exporters.prometheus_remote_write.series cimport Labels
from exporters.prometheus_remote_write.symbols cimport NONE

cdef enum:
    TARGETS = 100000         # whose target_info is remembered


cdef class TargetInfo:
    """Adds samples of the metric `name` to one table after the other."""

    def __init__(self, bytes name):
        self.name = name
        self.times = {}

    cdef int begin(self, SampleTable table) except -1:
        """Add to `table` from now on."""
        self.table = table
        self.family = NONE
        return 0

    cdef int add(self, Labels* labels, int64_t time) except -1:
        """A sample at `time`, in ms, unless there was one a short time before."""
        cdef SampleTable table = self.table
        cdef int64_t last
        cdef uint32_t series
        key = (labels.lo, labels.hi)
        last = self.times.get(key, 0)
        if last and time < last + TARGET_EVERY:
            return 0
        if self.family == NONE:
            self.symbol = table.intern_bytes(self.name)
            self.family = table.family(self.symbol, INFO, table.intern_bytes(b"Target metadata"), 0)
        series = table.series_of(labels, self.symbol, NONE, 0, 0, False, self.family)
        if series == NONE:
            return 0
        if len(self.times) >= TARGETS:
            self.times.clear()
        self.times[key] = time
        table.sample(series, time, 1.0, 0, NONE)
        return 0
