"""The staleness marker of Prometheus, a NaN of its own: the series has ended."""

from libc.math cimport isnan
from libc.stdint cimport uint64_t

from exporters.wire.numbers cimport from_bits


cdef inline double stale_marker() noexcept nogil:
    return from_bits(<uint64_t>0x7ff0000000000002)


cdef inline double ordinary_nan() noexcept nogil:
    return from_bits(<uint64_t>0x7ff8000000000001)


cdef inline double plain(double value) noexcept nogil:
    """`value`, but that no NaN is taken for the marker."""
    return ordinary_nan() if isnan(value) else value
