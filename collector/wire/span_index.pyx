"""The columns of a scan as read-only arrays that share one block of memory. The contract is in scan.pyi."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.span_index cimport (
    DEFECTS, END, FLAGS, HALVES, KIND, LENGTH, MATCHES, OFFSET, PARENT_ID, RESOURCE_ROW, ROW_BYTES, SCOPE_ROW, SPAN_ID,
    START, STATUS_CODE, TRACE_HI, TRACE_LO, WORDS, Columns,
)

cnp.import_array()


cdef class SpanIndex:
    def __repr__(self):
        return f"<SpanIndex spans={self.count}>"

    cdef int allocate(self, uint64_t spans, Columns* columns) except -1:
        """Makes room, not initialised, and tells where it is."""
        cdef cnp.npy_intp size = spans * ROW_BYTES
        cdef uint8_t* block
        cdef int i
        self.count = spans
        self.block = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
        block = <uint8_t*>cnp.PyArray_DATA(self.block)
        for i in range(WORDS):
            columns.words[i] = <uint64_t*>(block + 8 * spans * i)
        for i in range(HALVES):
            columns.halves[i] = <uint32_t*>(block + 8 * spans * WORDS + 4 * spans * i)
        columns.defects = block + (ROW_BYTES - 1) * spans
        return 0

    cdef object column(self, int which, int kind):
        cdef cnp.npy_intp size = self.count
        cdef char* data = <char*>cnp.PyArray_DATA(self.block)
        cdef cnp.ndarray view
        if which < OFFSET:
            data += 8 * size * which
        elif which < DEFECTS:
            data += 8 * size * WORDS + 4 * size * (which - OFFSET)
        else:
            data += (ROW_BYTES - 1) * size
        view = cnp.PyArray_SimpleNewFromData(1, &size, kind, data)
        cnp.set_array_base(view, self.block)
        cnp.PyArray_CLEARFLAGS(view, cnp.NPY_ARRAY_WRITEABLE)
        return view

    @property
    def trace_hi(self):
        return self.column(TRACE_HI, cnp.NPY_UINT64)

    @property
    def trace_lo(self):
        return self.column(TRACE_LO, cnp.NPY_UINT64)

    @property
    def span_id(self):
        return self.column(SPAN_ID, cnp.NPY_UINT64)

    @property
    def parent_id(self):
        return self.column(PARENT_ID, cnp.NPY_UINT64)

    @property
    def start(self):
        return self.column(START, cnp.NPY_UINT64)

    @property
    def end(self):
        return self.column(END, cnp.NPY_UINT64)

    @property
    def matches(self):
        return self.column(MATCHES, cnp.NPY_UINT64)

    @property
    def offset(self):
        return self.column(OFFSET, cnp.NPY_UINT32)

    @property
    def length(self):
        return self.column(LENGTH, cnp.NPY_UINT32)

    @property
    def resource(self):
        return self.column(RESOURCE_ROW, cnp.NPY_UINT32)

    @property
    def scope(self):
        return self.column(SCOPE_ROW, cnp.NPY_UINT32)

    @property
    def kind(self):
        return self.column(KIND, cnp.NPY_INT32)

    @property
    def status(self):
        return self.column(STATUS_CODE, cnp.NPY_INT32)

    @property
    def flags(self):
        return self.column(FLAGS, cnp.NPY_UINT32)

    @property
    def defects(self):
        return self.column(DEFECTS, cnp.NPY_UINT8)
