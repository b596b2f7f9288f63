"""Columns of a scan as read-only arrays that share one block of memory. The layout is in columns.pxd."""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.columns cimport Columns

cnp.import_array()


cdef object view_of(cnp.ndarray block, size_t offset, cnp.npy_intp size, int kind):
    cdef cnp.ndarray view = cnp.PyArray_SimpleNewFromData(1, &size, kind, <char*>cnp.PyArray_DATA(block) + offset)
    cnp.set_array_base(view, block)
    cnp.PyArray_CLEARFLAGS(view, cnp.NPY_ARRAY_WRITEABLE)
    return view


cdef class Rows:
    def __init__(self):
        raise TypeError("an index is made by a scan")

    def __repr__(self):
        return f"<{type(self).__name__} rows={self.count}>"

    cdef int allocate(self, uint64_t count, int words, int halves, int bytes, Columns* columns) except -1:
        """Makes room, not initialised, and tells where it is."""
        cdef cnp.npy_intp size = count * (8 * words + 4 * halves + bytes)
        cdef uint8_t* block
        cdef int i
        self.count = count
        self.words = words
        self.halves = halves
        self.block = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
        block = <uint8_t*>cnp.PyArray_DATA(self.block)
        for i in range(words):
            columns.words[i] = <uint64_t*>(block + 8 * count * i)
        block += 8 * count * words
        for i in range(halves):
            columns.halves[i] = <uint32_t*>(block + 4 * count * i)
        block += 4 * count * halves
        for i in range(bytes):
            columns.bytes[i] = block + count * i
        return 0

    cdef object word(self, int which):
        return view_of(self.block, 8 * self.count * which, self.count, cnp.NPY_UINT64)

    cdef object half(self, int which, int kind=cnp.NPY_UINT32):
        return view_of(self.block, self.count * (8 * self.words + 4 * which), self.count, kind)

    cdef object byte(self, int which, int kind=cnp.NPY_UINT8):
        return view_of(self.block, self.count * (8 * self.words + 4 * self.halves + which), self.count, kind)
