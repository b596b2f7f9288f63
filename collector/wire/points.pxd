"""Which columns a `PointIndex` has."""

cimport numpy as cnp

from collector.wire.columns cimport Rows

cdef enum:          # of 64 bits
    TIME
    START
    WORDS

cdef enum:          # of 32 bits
    OFFSET
    LENGTH
    FLAGS
    EXEMPLARS
    METRIC_ROW
    RESOURCE_ROW
    SCOPE_ROW
    HALVES

cdef enum:          # of 8 bits
    KIND
    TEMPORALITY
    MONOTONIC
    BYTES

cdef enum:          # of 32 bits, one row per metric
    METRIC_OFFSET
    METRIC_LENGTH
    NAME_OFFSET
    NAME_LENGTH
    METRIC_HALVES

cdef class MetricRows(Rows):
    pass

cdef class PointIndex(Rows):
    cdef bytes payload
    cdef MetricRows metrics
    cdef Rows hashes            # None until they are asked for

    cdef Rows hashed(self)
