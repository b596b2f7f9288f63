"""The columns of a scan of spans. The contract is in scan.pyi."""

cimport numpy as cnp

from collector.wire.columns cimport Rows
from collector.wire.span_index cimport (
    DEFECTS, END, FLAGS, KIND, LENGTH, MATCHES, OFFSET, PARENT_ID, RESOURCE_ROW, SCOPE_ROW, SPAN_ID, START, STATUS_CODE,
    TRACE_HI, TRACE_LO,
)


cdef class SpanIndex(Rows):
    @property
    def trace_hi(self):
        return self.word(TRACE_HI)

    @property
    def trace_lo(self):
        return self.word(TRACE_LO)

    @property
    def span_id(self):
        return self.word(SPAN_ID)

    @property
    def parent_id(self):
        return self.word(PARENT_ID)

    @property
    def start(self):
        return self.word(START)

    @property
    def end(self):
        return self.word(END)

    @property
    def matches(self):
        return self.word(MATCHES)

    @property
    def offset(self):
        return self.half(OFFSET)

    @property
    def length(self):
        return self.half(LENGTH)

    @property
    def resource(self):
        return self.half(RESOURCE_ROW)

    @property
    def scope(self):
        return self.half(SCOPE_ROW)

    @property
    def kind(self):
        return self.half(KIND, cnp.NPY_INT32)

    @property
    def status(self):
        return self.half(STATUS_CODE, cnp.NPY_INT32)

    @property
    def flags(self):
        return self.half(FLAGS)

    @property
    def defects(self):
        return self.byte(DEFECTS)
