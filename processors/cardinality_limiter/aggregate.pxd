from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from processors.cardinality_limiter.buckets cimport Buckets
from processors.cardinality_limiter.members cimport Distribution, Member
from processors.cardinality_limiter.point cimport Point
from processors.cardinality_limiter.siphash cimport Hash

cdef extern from *:
    """
    #define CARDINALITY_HOUR 3600000000000ULL
    """
    const uint64_t HOUR "CARDINALITY_HOUR"     # a clock that is set back further is believed

cdef enum:
    MOST_EXEMPLARS = 64
    MOST_GENERATIONS = 8     # of bounds; one more, and none are kept
    LATE = 0                 # what a point is to its member: nothing new,
    SAME = 1                 # a later point of the same life,
    NEW = 2                  # the first of a life

cdef struct Slice:
    const uint8_t *at
    size_t size


cdef class Aggregate:
    """A series that re-aggregation makes."""
    cdef Hash hash
    cdef readonly uint32_t group
    cdef uint32_t number             # its entry
    cdef readonly uint32_t members
    cdef uint32_t epoch              # of its last point
    cdef uint8_t kind
    cdef uint8_t temporality
    cdef bint monotonic
    cdef readonly bint reduced       # made by removing labels, else by overflow
    cdef bytes attributes            # encoded fields of its points
    cdef uint64_t start
    cdef uint64_t sent               # time of the last point that was sent
    cdef int64_t integer
    cdef double real
    cdef double lost                 # what rounding took from `real`
    cdef bint has_real
    cdef bint has_any
    cdef bint sums                   # whether all points had a sum,
    cdef bint extremes               # and a minimum and a maximum
    cdef double min
    cdef double max
    cdef double zero_threshold
    cdef Distribution distribution
    cdef Buckets bounds
    cdef list former_bounds
    # of the metric that is being read:
    cdef bint touched
    cdef bint changed
    cdef uint64_t time               # newest
    cdef uint32_t exemplar_count
    cdef Slice[MOST_EXEMPLARS] exemplars

    cdef int relation(self, Member *member, const Point *point) noexcept
    cdef int fold(self, Member *member, Point *point) except -1
    cdef int forget(self, Member *member) except -1
    cdef int add_number(self, bint is_int, int64_t integer, double real) except -1
    cdef int take_number(self, Member *member) except -1
    cdef int fold_number(self, Member *member, const Point *point, int relation) except -1
    cdef int fold_distribution(self, Member *member, Point *point, int relation) except -1
    cdef int agree_on_bounds(self, Point *point) except -1
    cdef int narrow_to(self, const double *bounds, uint32_t count) except -1
    cdef int agree_on_scale(self, Point *point) except -1
    cdef bint fell(self, const Distribution *last, const Point *point) noexcept
    cdef int bring_up(self, Distribution *last) except -1
    cdef int begin(self) except -1
    cdef uint64_t size(self) noexcept
