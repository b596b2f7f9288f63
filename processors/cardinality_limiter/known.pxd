from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from processors.cardinality_limiter.members cimport Members
from processors.cardinality_limiter.offenders cimport Offenders
from processors.cardinality_limiter.siphash cimport Hash
from processors.cardinality_limiter.table cimport Table

cdef enum:
    EPOCHS = 16              # in a window
    OVERFLOW = 0             # `rules.ACTIONS`
    DROP_LABEL = 1
    DROP = 2
    BY_SERIES = 0            # `LIMITS`
    BY_METRIC = 1
    BY_LABEL = 2
    BY_METRICS = 3
    BY_AGGREGATES = 4
    BY_STATE = 5
    BY_NONE = 6
    LIMIT_COUNT = 7
    OVERFLOW_SIZE = 26

cdef const uint8_t *OVERFLOW_ATTRIBUTE


cdef class Label:
    """A label of a metric whose values are counted."""
    cdef bytes name
    cdef uint32_t active
    cdef uint32_t limit
    cdef uint8_t action


cdef class Group:
    """A metric, by its name: what its limits are and how many series it has."""
    cdef bytes key
    cdef bytes name
    cdef Hash hash
    cdef object rule
    cdef uint32_t limit
    cdef uint8_t action
    cdef bint counts_labels
    cdef bint chooses
    cdef uint32_t active
    cdef uint32_t reduced            # series that removing labels made
    cdef uint32_t aggregates         # all that were made
    cdef uint32_t labels             # whose values are counted
    cdef uint32_t epoch
    cdef uint64_t refused
    cdef bint has_chosen
    cdef Hash chosen                 # the label that is removed


cdef class Known:
    """The series that are active, and what they are to one another."""
    cdef Hash key
    cdef Hash overflow                       # of the attribute
    cdef Table series
    cdef Table values
    cdef list groups
    cdef list vacant_groups
    cdef dict group_numbers
    cdef list labels
    cdef list vacant_labels
    cdef Members members
    cdef list aggregates
    cdef list vacant_aggregates
    cdef object rules
    cdef readonly Offenders offenders
    cdef readonly uint32_t active            # series that pass as they are
    cdef uint32_t max_series
    cdef uint32_t max_metrics
    cdef uint32_t max_aggregates
    cdef uint32_t max_exemplars
    cdef uint64_t max_state
    cdef uint64_t state                      # bytes of members and aggregates
    cdef int64_t epoch_ns
    cdef int64_t clock_ns
    cdef uint32_t epoch
    cdef uint32_t swept
    cdef uint32_t swept_values
    cdef uint32_t swept_groups
    cdef uint64_t[LIMIT_COUNT][3] counts

    cdef int new_key(self) except -1
    cdef uint32_t add_group(self, bytes key, bytes name, Hash hashed) except? 0xFFFFFFFF
    cdef int sweep(self, uint32_t number) except -1
    cdef int release(self, uint32_t number) except -1
    cdef int sweep_value(self, uint32_t number) except -1
    cdef int sweep_group(self, uint32_t number) except -1


cdef uint32_t put_in(list parts, list vacant, object part) except? 0xFFFFFFFE
cdef int take_out(list parts, list vacant, uint32_t number) except -1
