"""The hashes of a `PointIndex` as columns of their own."""

from collector.wire.columns cimport Rows

cdef enum:          # of 64 bits
    ATTRIBUTES
    SERIES
    HASHES

cdef Rows hash_points(bytes payload, Py_ssize_t metrics, Py_ssize_t points)
